import { QcowalError } from "../errors/index.ts";
import {
  MAX_SNAPSHOT_TABLE_BYTES,
  type SnapshotEntry,
  clustersFor,
  encodeSnapshotTable,
  snapshotTableBytes,
} from "../format/index.ts";
import type { Image } from "../image/index.ts";
import type { RefcountChanges } from "./refcount-changes.ts";
import type { Space } from "./space.ts";

/** Contents of a table and where they will be. */
export interface PlacedTable {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Reserves clusters for a new snapshot table. @throws QcowalError LIMIT_EXCEEDED */
export function placeSnapshotTable(
  image: Image,
  entries: readonly SnapshotEntry[],
  space: Space,
  changes: RefcountChanges,
): PlacedTable {
  const length = snapshotTableBytes(entries);
  if (length > MAX_SNAPSHOT_TABLE_BYTES) {
    throw new QcowalError(
      "LIMIT_EXCEEDED",
      `${image.disk.path}: the snapshot table would have ${length} bytes, QEMU reads at most ${MAX_SNAPSHOT_TABLE_BYTES}. Nothing was changed; delete snapshots first.`,
    );
  }
  const offset = space.allocate(clustersFor(changes.stored.geometry, length));
  return { offset, bytes: encodeSnapshotTable(entries) };
}

/** Takes back the one reference to each cluster of a table that is replaced. */
export function release(changes: RefcountChanges, offset: number, bytes: number): void {
  const { clusterSize } = changes.stored.geometry;
  for (let at = offset; at < offset + bytes; at += clusterSize) changes.addReferences(at / clusterSize, -1);
}

/** Whole clusters: what a table does not fill is zeros. */
export function padded(clusterSize: number, bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(Math.ceil(bytes.length / clusterSize) * clusterSize);
  result.set(bytes);
  return result;
}
