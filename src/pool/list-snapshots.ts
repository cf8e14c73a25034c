import { type Disk, openFileDisk } from "../disk/index.ts";
import { fencedError } from "../engine/index.ts";
import { throwIfAborted } from "../errors/index.ts";
import { type Snapshot, mapSnapshots, readHead } from "../image/index.ts";

/** A snapshot, with the fields that `qemu-img info --output=json` has, in the names of this API. */
export interface SnapshotInfo {
  readonly id: string;
  readonly name: string;
  /** When it was taken: seconds since 1970 and nanoseconds behind them. */
  readonly dateSec: number;
  readonly dateNsec: number;
  /** Bytes of saved VM state; 0 for a disk-only snapshot. */
  readonly vmStateSize: number;
  /** Guest clock when it was taken. */
  readonly vmClockNsec: bigint;
  /** Instruction count of record/replay; undefined without. */
  readonly icount: bigint | undefined;
  /** Virtual size of the disk in it; undefined in old images, where it is today's. */
  readonly diskSize: number | undefined;
}

export interface ListOptions {
  /** Take no lock, as `qemu-img -U`: works beside a running VM, the answer may be out of date at once. */
  readonly forceShare?: boolean;
  /** Ends it with ABORTED. */
  readonly signal?: AbortSignal;
}

/**
 * The snapshots of an image in table order. Needs no journal; cost does not
 * depend on the image's size.
 * @throws QcowalError IMAGE_NOT_FOUND, IMAGE_IN_USE, NEEDS_RECOVERY, IMAGE_NOT_QCOW2, IMAGE_INVALID, IMAGE_UNSUPPORTED, ABORTED
 */
export async function listSnapshots(path: string, options: ListOptions = {}): Promise<SnapshotInfo[]> {
  const checkpoint = (): void =>
    throwIfAborted(options.signal, "Listing the snapshots was called off. Nothing was changed.");
  checkpoint();
  const disk = await openFileDisk(path, options.forceShare === true ? "read-unlocked" : "read");
  try {
    return await snapshotsOn(disk, checkpoint);
  } finally {
    await disk.close();
  }
}

/** The same for an image that is open. What `checkpoint` throws, which is called for each snapshot, ends it. */
export async function snapshotsOn(
  disk: Disk,
  checkpoint: () => void = () => undefined,
): Promise<SnapshotInfo[]> {
  const head = await readHead(disk);
  if (head.header.fenced) throw await fencedError(disk.path, head);
  const snapshots = await mapSnapshots(disk, head.header, (snapshot) => {
    checkpoint();
    return infoOf(snapshot);
  });
  return [...snapshots];
}

function infoOf({ id, name, entry }: Snapshot): SnapshotInfo {
  return {
    id,
    name,
    dateSec: entry.dateSec,
    dateNsec: entry.dateNsec,
    vmStateSize: Number(entry.vmStateSize),
    vmClockNsec: entry.vmClockNsec,
    icount: entry.icount,
    diskSize: entry.diskSize === undefined ? undefined : Number(entry.diskSize),
  };
}
