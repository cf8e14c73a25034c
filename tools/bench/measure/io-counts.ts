import { readFile, rm } from "node:fs/promises";
import { UNSIGNALLED, parseStraceLog } from "../../crash/real/strace-log.ts";
import { must } from "../../../test/support/programs.ts";

/** System calls on files below the folder that was watched. */
export interface IoCounts {
  readonly reads: number;
  readonly writes: number;
  /** fsync and fdatasync, of the image and of the journal. */
  readonly syncs: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Those of the writes that go to files of the journal. */
  readonly journalWrites: number;
  readonly journalBytes: number;
}

export const NO_IO: IoCounts = {
  reads: 0,
  writes: 0,
  syncs: 0,
  bytesRead: 0,
  bytesWritten: 0,
  journalWrites: 0,
  journalBytes: 0,
};

export function sumOfIo(one: IoCounts, other: IoCounts): IoCounts {
  const sums = { ...one };
  for (const field of Object.keys(NO_IO) as (keyof IoCounts)[]) sums[field] += other[field];
  return sums;
}

const READS = new Set(["read", "pread64", "preadv", "preadv2", "readv"]);
const WRITES = new Set(["write", "pwrite64", "pwritev", "pwritev2", "writev"]);
const SYNCS = new Set(["fsync", "fdatasync"]);
const TRACED = [...READS, ...WRITES, ...SYNCS].join(",");

/** Runs the command once more under strace, whose slowness does not matter here. */
export async function countIo(command: readonly string[], folder: string): Promise<IoCounts> {
  const log = `${folder}.trace`;
  await must("strace", [
    ...UNSIGNALLED,
    "-y",
    "-qq",
    "-s",
    "0",
    "-e",
    `trace=${TRACED}`,
    "-o",
    log,
    ...command,
  ]);
  const counts = { ...NO_IO };
  for (const { name, args, result } of parseStraceLog(await readFile(log, "utf8"))) {
    const [, path] = /^\d+<([^>]*)>/.exec(args) ?? [];
    if (path === undefined || !`${path}/`.startsWith(`${folder}/`)) continue;
    const bytes = Math.max(0, Number.parseInt(result ?? "0", 10));
    if (READS.has(name)) {
      counts.reads += 1;
      counts.bytesRead += bytes;
    } else if (WRITES.has(name)) {
      counts.writes += 1;
      counts.bytesWritten += bytes;
      if (path.includes("/.qcowal/")) {
        counts.journalWrites += 1;
        counts.journalBytes += bytes;
      }
    } else if (SYNCS.has(name)) counts.syncs += 1;
  }
  await rm(log);
  return counts;
}
