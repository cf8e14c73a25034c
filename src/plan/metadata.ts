import type { Image } from "../image/index.ts";
import type { Draft } from "./draft.ts";
import type { RefcountChanges } from "./refcount-changes.ts";
import type { StoredBytes } from "./released.ts";

/** A structure of the image that a plan relies on. */
export interface Structure extends StoredBytes {
  readonly what: string;
}

/** All but the L2 tables and the refcount blocks, no cluster of an L1 table twice. */
export function* structuresOf({ header, snapshotTable }: Image, draft: Draft): Generator<Structure> {
  const { clusterSize } = header.geometry;
  yield { offset: 0, length: clusterSize, what: "the header" };
  const { refcountTableOffset, refcountTableClusters, snapshotsOffset } = header;
  yield {
    offset: refcountTableOffset,
    length: refcountTableClusters * clusterSize,
    what: "the refcount table",
  };
  yield { offset: snapshotsOffset, length: snapshotTable.bytes, what: "the snapshot table" };
  // Snapshots of a damaged image may all have the same table, or tables that overlap.
  const tables = [draft.active, ...draft.snapshots.map(({ root }) => root)].map(({ contents }) => contents);
  let done = 0;
  for (const { offset, entries } of tables.toSorted((a, b) => a.offset - b.offset)) {
    const start = Math.max(offset, done);
    const end = offset + entries * 8;
    if (end > start) yield { offset: start, length: end - start, what: "an L1 table" };
    done = Math.max(done, Math.ceil(end / clusterSize) * clusterSize);
  }
}

/**
 * Structures that we rely on must be counted: where one is not, its clusters look
 * free and would be handed out. Looks at what the blocks count that were read.
 */
export function checkMetadataCounted(image: Image, draft: Draft, changes: RefcountChanges): void {
  const { clusterSize, refcountEntries } = image.header.geometry;
  const { stored } = changes;
  const from = stored.first * refcountEntries * clusterSize;
  const to = stored.end * refcountEntries * clusterSize;
  const check = ({ offset, length, what }: Structure): void => {
    for (let at = Math.max(offset, from); at < Math.min(offset + length, to); at += clusterSize) {
      const cluster = at / clusterSize;
      if (!stored.isRead(Math.floor(cluster / refcountEntries)) || stored.get(cluster) > 0) continue;
      throw changes.damaged(`${what} at 0x${at.toString(16)} is in use but its refcount is 0`);
    }
  };
  for (const structure of structuresOf(image, draft)) check(structure);
  // Most slots are empty: an iterator over them takes longer than all the rest of a small plan.
  for (let slot = 0; slot < stored.table.length; slot += 1) {
    const offset = stored.table[slot] ?? 0;
    if (offset !== 0) check({ offset, length: clusterSize, what: "a refcount block" });
  }
}

/** Slots of the refcount table whose blocks count these bytes. */
export function* slotsOf(
  { clusterSize, refcountEntries }: Image["header"]["geometry"],
  { offset, length }: StoredBytes,
): Generator<number> {
  if (length <= 0) return;
  const blockSpan = clusterSize * refcountEntries;
  const last = Math.floor((offset + length - 1) / blockSpan);
  for (let slot = Math.floor(offset / blockSpan); slot <= last; slot += 1) yield slot;
}
