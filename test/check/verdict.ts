import { writeFile } from "node:fs/promises";
import { checkExitOf, checkExitOfError } from "../../src/cli/check-exit.ts";
import { type CheckReport, checkImage, isQcowalError } from "../../src/index.ts";
import { run } from "../support/programs.ts";
import type { Verdicts } from "./differences.ts";

/** Numbers that `qemu-img check --output=json` leaves out when they are zero. */
function countsOf(report: CheckReport): Readonly<Record<string, number>> {
  return {
    "check-errors": report.checkErrors,
    // The one thing that we count and QEMU cannot see: it does not ask whose a cluster is.
    corruptions: report.corruptions - report.overlaps,
    leaks: report.leaks,
    "image-end-offset": report.imageEndOffset,
    "total-clusters": report.totalClusters,
    "allocated-clusters": report.allocatedClusters,
    "fragmented-clusters": report.fragmentedClusters,
    "compressed-clusters": report.compressedClusters,
  };
}

/** What both say of one image. */
export interface Verdict extends Verdicts {
  readonly code: number;
  readonly ours: Readonly<Record<string, number>>;
  readonly theirs: Readonly<Record<string, number>>;
}

export async function verdictOn(path: string, bytes: Uint8Array): Promise<Verdict> {
  await writeFile(path, bytes);
  const running = run("qemu-img", ["check", "--output=json", path]);
  let report: CheckReport | undefined;
  let refusal = "";
  let code: number;
  try {
    report = await checkImage(path, { forceShare: true });
    code = checkExitOf({ ...report, corruptions: report.corruptions - report.overlaps, interrupted: false });
  } catch (error) {
    if (!isQcowalError(error)) throw error;
    refusal = error.message;
    code = checkExitOfError(error);
  }
  const { code: qemuCode, stdout, stderr } = await running;
  const ours = report === undefined ? {} : countsOf(report);
  const json = stdout.startsWith("{") ? (JSON.parse(stdout) as Record<string, number>) : undefined;
  // Without JSON QEMU gave up on the way: there is nothing to compare but the exit code.
  const theirs = json && Object.fromEntries(Object.keys(ours).map((key) => [key, json[key] ?? 0]));
  return {
    bytes,
    qemu: { code: qemuCode ?? -1, stderr },
    report,
    refusal,
    code,
    ours,
    theirs: theirs ?? ours,
  };
}

export function isSame({ code, qemu, ours, theirs }: Verdict): boolean {
  if (code !== qemu.code) return false;
  // QEMU stops at an error that leaves it without snapshots, or goes on with other ones than we do.
  return code === 1 || Object.keys(ours).every((key) => ours[key] === theirs[key]);
}
