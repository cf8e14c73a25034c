import type { SnapshotEntry } from "../format/index.ts";
import type { Image } from "./image.ts";
import { shortNames } from "./snapshots.ts";

/**
 * What the record keeps of a snapshot: enough to list it when it is gone. Of a
 * record of an earlier version only id and name are known.
 */
export interface SnapshotFacts {
  readonly id: string;
  readonly name: string;
  /** When it was taken: seconds since 1970 and nanoseconds behind them. */
  readonly dateSec?: number;
  readonly dateNsec?: number;
  /** Bytes of saved VM state; 0 for a disk-only snapshot. */
  readonly vmStateSize?: number;
  /** Guest clock when it was taken, in decimal: it may be more than a number holds. */
  readonly vmClockNsec?: string;
  /** Instruction count of record/replay, in decimal; absent without. */
  readonly icount?: string;
  /** Virtual size of the disk in it; absent in old images, where it is today's. */
  readonly diskSize?: number;
}

/** Names that exceed QEMU's limit are cut short. */
export function snapshotFacts(entry: SnapshotEntry): SnapshotFacts {
  const { dateSec, dateNsec, vmStateSize, vmClockNsec, icount, diskSize } = entry;
  return {
    ...shortNames(entry),
    dateSec,
    dateNsec,
    vmStateSize: Number(vmStateSize),
    vmClockNsec: String(vmClockNsec),
    ...(icount === undefined ? {} : { icount: String(icount) }),
    ...(diskSize === undefined ? {} : { diskSize: Number(diskSize) }),
  };
}

/** Those of all snapshots of an image, in table order. */
export const factsOf = ({ snapshotTable }: Image): SnapshotFacts[] =>
  snapshotTable.snapshots.map(({ entry }) => snapshotFacts(entry));
