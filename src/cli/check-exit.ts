import { type CheckReport, isQcowalError } from "../index.ts";
import { EXIT } from "./exit-codes.ts";

/** What `check` answers to the shell: the codes of `qemu-img check`, and one more. */
export const CHECK_EXIT = {
  clean: 0,
  failed: 1,
  corruptions: 2,
  leaks: 3,
  /** Clean, but an interrupted operation holds it. QEMU cannot say that: it does not open the image. */
  interrupted: EXIT.needsRecovery,
  noCheck: 63,
} as const;

export const CHECK_EXIT_HELP = `Exit codes are those of 'qemu-img check':
  0   clean
  1   the check could not be completed, or was not begun (image in use, wrong arguments)
  2   corruptions
  3   leaks, but no corruptions
  63  not a qcow2 image
and one more:
  6   clean, but an interrupted operation holds the image: run 'qcowal recover'`;

export function checkExitOf(
  report: Pick<CheckReport, "checkErrors" | "corruptions" | "leaks" | "interrupted">,
): number {
  if (report.checkErrors > 0) return CHECK_EXIT.failed;
  if (report.corruptions > 0) return CHECK_EXIT.corruptions;
  if (report.leaks > 0) return CHECK_EXIT.leaks;
  return report.interrupted ? CHECK_EXIT.interrupted : CHECK_EXIT.clean;
}

/** A failure in the codes of qemu-img, where 2 would say that the image is corrupt. `code` is ours for it. */
export function checkExitOfError(error: unknown, code: number = CHECK_EXIT.failed): number {
  if (isQcowalError(error, "IMAGE_NOT_QCOW2")) return CHECK_EXIT.noCheck;
  return isQcowalError(error, "ABORTED") ? code : CHECK_EXIT.failed;
}
