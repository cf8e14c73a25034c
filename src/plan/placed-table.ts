import { QcowalError } from "../errors/index.ts";
import {
  MAX_SNAPSHOT_TABLE_BYTES,
  type SnapshotEntry,
  clustersFor,
  encodeSnapshotTable,
  snapshotTableBytes,
} from "../format/index.ts";
import type { Image } from "../image/index.ts";
import type { Space } from "./space.ts";

/** Contents of a table, in whole clusters, and where they will be. */
export interface PlacedTable {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Reserves clusters for a new snapshot table. @throws QcowalError LIMIT_EXCEEDED */
export async function placeSnapshotTable(
  image: Image,
  entries: readonly SnapshotEntry[],
  space: Space,
): Promise<PlacedTable> {
  const length = snapshotTableBytes(entries);
  if (length > MAX_SNAPSHOT_TABLE_BYTES) {
    throw new QcowalError(
      "LIMIT_EXCEEDED",
      `${image.disk.path}: the snapshot table would have ${length} bytes, QEMU reads at most ${MAX_SNAPSHOT_TABLE_BYTES}. Nothing was changed; delete snapshots first.`,
    );
  }
  const clusters = clustersFor(image.header.geometry, length);
  const offset = await space.allocate(clusters);
  return { offset, bytes: encodeSnapshotTable(entries, clusters * image.header.geometry.clusterSize) };
}

/** Whole clusters: what a table does not fill is zeros. */
export function padded(clusterSize: number, bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(Math.ceil(bytes.length / clusterSize) * clusterSize);
  result.set(bytes);
  return result;
}
