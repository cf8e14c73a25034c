import { QcowalError } from "../errors/index.ts";
import {
  MAX_SNAPSHOT_TABLE_BYTES,
  type SnapshotEntry,
  clustersFor,
  encodeSnapshotTable,
  snapshotTableBytes,
} from "../format/index.ts";
import { giveSpare, takeSpare } from "../disk/index.ts";
import type { Image } from "../image/index.ts";
import { type FillIntent, fillOf } from "../intent/index.ts";
import type { Space } from "./space.ts";

/** Where a table will be, and what makes its contents, in whole clusters. */
export interface PlacedTable {
  readonly offset: number;
  readonly fills: readonly FillIntent[];
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
  const pieces = encodeSnapshotTable(entries, clusters * image.header.geometry.clusterSize);
  const scratch = takeSpare(pieces[0]?.length ?? 0);
  const fills = pieces.map(({ at, length, writeTo }) =>
    fillOf(offset + at, scratch.subarray(0, length), writeTo),
  );
  giveSpare(scratch);
  return { offset, fills };
}

/** Whole clusters: what a table does not fill is zeros. */
export function padded(clusterSize: number, bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(Math.ceil(bytes.length / clusterSize) * clusterSize);
  result.set(bytes);
  return result;
}
