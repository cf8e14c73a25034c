import { openFileDisk } from "../../disk/index.ts";
import { throwIfAborted as throwWith, withPath } from "../../errors/index.ts";
import { type ChangedKind, type ChangedRange } from "./changed-range.ts";
import { type DiffCheckpoint, diffRoots } from "./diff-roots.ts";
import {
  type DiffSide,
  type Root,
  type SnapshotRef,
  activeRoot,
  openRoots,
  rootOf,
  snapshotRoot,
} from "./root.ts";

export interface DiffOptions {
  /** Take no lock, as `qemu-img -U`: beside a running VM, which may change the active layer meanwhile. */
  readonly forceShare?: boolean;
  /** Ends the comparison with ABORTED. */
  readonly signal?: AbortSignal;
  /** Told how many bytes of the disk are compared. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What is compared. */
export interface DiffSides {
  /** Path of the image with links resolved. */
  readonly image: string;
  readonly from: DiffSide;
  readonly to: DiffSide;
  /** Another file shows through where the image says nothing. */
  readonly hasBacking: boolean;
}

/**
 * The exact ranges of the disk that two states of an image map differently, in the
 * order of the disk. `to` undefined is the active layer. No content is read, and
 * no table that both states share.
 *
 * By mapping differs what is stored elsewhere, or in another way: a cluster that
 * was written again with the same bytes, or zeros that are said where nothing was
 * said before. Ranges are exact to the cluster, with extended L2 entries to the
 * subcluster, and cut at the end of the disk; of disks of different sizes, all
 * that only one of them has differs. A range outside of all of them is the same
 * in both, byte for byte. VM state is not compared.
 *
 * @param onSides told what is compared, before the first range
 * @throws QcowalError IMAGE_NOT_FOUND, IMAGE_IN_USE, NEEDS_RECOVERY, IMAGE_NOT_QCOW2, IMAGE_INVALID,
 * IMAGE_UNSUPPORTED, SNAPSHOT_NOT_FOUND, SNAPSHOT_AMBIGUOUS, IMAGE_CHANGED, ABORTED, IO_FAILED
 */
export async function* diffSnapshots(
  path: string,
  from: SnapshotRef,
  to?: SnapshotRef,
  options: DiffOptions & { readonly onSides?: (sides: DiffSides) => void } = {},
): AsyncGenerator<ChangedRange> {
  const forceShare = options.forceShare === true;
  const file = await openFileDisk(path, forceShare ? "read-unlocked" : "read");
  try {
    const { disk, image, roots } = await openRoots(file, !forceShare, (found) => ({
      from: rootOf(found, from),
      to: rootOf(found, to),
    }));
    options.onSides?.({
      image: disk.path,
      from: sideOf(roots.from),
      to: sideOf(roots.to),
      hasBacking: image.header.backingFileOffset !== 0,
    });
    yield* diffRoots(disk, image.header.geometry, roots.from, roots.to, checkpointOf(options));
  } catch (error) {
    throw withPath(error, file.path);
  } finally {
    await file.close();
  }
}

/** How much of the disk differs, by how the second state has it. */
export interface DiffTotals extends Readonly<Record<ChangedKind, number>> {
  readonly ranges: number;
  /** All bytes that differ. */
  readonly bytes: number;
}

/** What changed from one state to the next. */
export interface DiffStep {
  readonly from: DiffSide;
  readonly to: DiffSide;
  readonly totals: DiffTotals;
}

/**
 * What changed from each snapshot to the next one in the table, and from the last
 * one to the active layer: nothing for an image without snapshots. `onProgress`
 * is told of all of them together.
 * @throws QcowalError as `diffSnapshots`
 */
export async function* diffHistory(path: string, options: DiffOptions = {}): AsyncGenerator<DiffStep> {
  const forceShare = options.forceShare === true;
  const file = await openFileDisk(path, forceShare ? "read-unlocked" : "read");
  try {
    const { disk, image, roots } = await openRoots(file, !forceShare, ({ header, snapshotTable }) => [
      ...snapshotTable.snapshots.map((snapshot) => snapshotRoot(header, snapshot)),
      activeRoot(header),
    ]);
    const steps = roots.length - 1;
    for (const [index, to] of roots.slice(1).entries()) {
      const from = roots[index] as Root;
      const checkpoint = checkpointOf({
        ...options,
        ...(options.onProgress === undefined
          ? {}
          : { onProgress: (done, total) => options.onProgress?.(index * total + done, steps * total) }),
      });
      const totals = await totalsOf(diffRoots(disk, image.header.geometry, from, to, checkpoint));
      yield { from: sideOf(from), to: sideOf(to), totals };
    }
  } catch (error) {
    throw withPath(error, file.path);
  } finally {
    await file.close();
  }
}

/** Adds up ranges. */
export async function totalsOf(ranges: AsyncIterable<ChangedRange>): Promise<DiffTotals> {
  const totals = { ranges: 0, bytes: 0, data: 0, compressed: 0, zero: 0, unallocated: 0, outside: 0 };
  for await (const { length, kind } of ranges) {
    totals.ranges += 1;
    totals.bytes += length;
    totals[kind] += length;
  }
  return totals;
}

const sideOf = ({ snapshot, size }: Root): DiffSide => ({ snapshot, size });

/** @throws QcowalError ABORTED */
export const throwIfAborted = (signal: AbortSignal | undefined): void =>
  throwWith(signal, "The comparison was called off. Nothing was changed.");

function checkpointOf({ signal, onProgress }: DiffOptions): DiffCheckpoint {
  return (done, total) => {
    throwIfAborted(signal);
    onProgress?.(done, total);
  };
}
