import { CommanderError } from "commander";
import { type ErrorCode, isQcowalError } from "../index.ts";

/** What the command answers to the shell. Part of its interface: scripts depend on it. */
export const EXIT = {
  done: 0,
  failed: 1,
  misuse: 2,
  /** A repair that had to leave something: 'repair' only. */
  damageLeft: 3,
  /**
   * What is looked at is not what the record says: an image ('status'), or the end of a
   * journal that a power cut tore ('journal verify').
   */
  differs: 4,
  inUse: 5,
  needsRecovery: 6,
  interrupted: 130,
  terminated: 143,
} as const;

export const EXIT_CODES_HELP = `Exit codes:
  0    done
  1    failed, nothing was changed
  2    wrong use of the command, nothing was changed
  3    repaired as far as possible, damage is left and named (only 'repair')
  4    an image differs from the record ('status'), or a journal's end is torn ('journal verify')
  5    the image or the journal is in use, nothing was changed
  6    the image needs 'qcowal recover'
  130  called off with Ctrl-C, nothing was changed (143 with SIGTERM)
'qcowal check' answers as 'qemu-img check' does: 'qcowal check --help'.`;

const BY_CODE: Partial<Record<ErrorCode, number>> = {
  IMAGE_IN_USE: EXIT.inUse,
  JOURNAL_IN_USE: EXIT.inUse,
  NEEDS_RECOVERY: EXIT.needsRecovery,
  FOREIGN_WRITE: EXIT.needsRecovery,
};

export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.misuse;
  if (error instanceof TypeError) return EXIT.misuse;
  if (!isQcowalError(error)) return EXIT.failed;
  if (error.code === "ABORTED") return error.cause === "SIGTERM" ? EXIT.terminated : EXIT.interrupted;
  return BY_CODE[error.code] ?? EXIT.failed;
}
