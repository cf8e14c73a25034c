import {
  type Census,
  type CensusOptions,
  type Image,
  type Snapshot,
  SortedOffsets,
  readRefcountTable,
  readSnapshotTable,
  takeCensus,
} from "../image/index.ts";
import type { RepairOptions } from "./repair-options.ts";
import { hasL1, ifInvalid, withSoughtSnapshotTable } from "./found-snapshot-table.ts";

/**
 * Why the snapshot table cannot be where the header says, as far as the header
 * and the table itself tell. Undefined for a place that may be right.
 */
export function misplacedTable({ header, fileSize, snapshotTable }: Image): string | undefined {
  const { snapshotCount, snapshotsOffset, rescued } = header;
  if (snapshotCount === 0) return undefined;
  if (rescued?.snapshotTable !== undefined) return rescued.snapshotTable;
  if (snapshotsOffset === 0) return `Snapshot table in the place of the header ${at(header)}`;
  if (snapshotsOffset >= fileSize) return `Snapshot table behind the end of the file ${at(header)}`;
  const { snapshots } = snapshotTable;
  return snapshots.length > 0 && snapshots.every(isNothing)
    ? `Snapshot table in which nothing is written ${at(header)}`
    : undefined;
}

const at = ({ snapshotsOffset }: Image["header"]): string => `(0x${snapshotsOffset.toString(16)})`;

const isNothing = ({ id, name, entry }: Snapshot): boolean => id === "" && name === "" && entry.l1Size === 0;
const isPrintable = (id: string): boolean => /^[\x20-\x7e]+$/.test(id);

/** As far as one can tell from the entry itself; one that was read from a wrong place is none. */
const isSnapshot = (image: Image, snapshot: Snapshot): boolean =>
  isPrintable(snapshot.id) && hasL1(image, snapshot);

/**
 * The image without what was read as its snapshot table and lies in the place of
 * something else: the whole table, of which the right one is looked for, or the
 * entries from the one on that reaches there. Undefined where that is not so. Of
 * two pointers to one place either may be wrong: where there is a snapshot, it is
 * the other.
 */
export async function withoutDisplacedEntries(
  image: Image,
  options: RepairOptions,
): Promise<Image | undefined> {
  const { disk, header, snapshotTable } = image;
  const contested = await contestedOffset(image, options);
  if (contested === undefined) return undefined;
  const [first] = snapshotTable.snapshots;
  if (first === undefined || !isSnapshot(image, first)) {
    return withSoughtSnapshotTable(
      image,
      `Snapshot table in the place of something else ${at(header)}`,
      options,
    );
  }
  const before = await readSnapshotTable(disk, header, true, contested - header.snapshotsOffset);
  const reaching = snapshotTable.snapshots[before.snapshots.length];
  if (reaching === undefined || isSnapshot(image, reaching)) return undefined;
  return { ...image, snapshotTable: before };
}

/** The first cluster of the snapshot table that is the active layer's, or one of the snapshots' before the first entry that is none. */
async function contestedOffset(image: Image, options: RepairOptions): Promise<number | undefined> {
  const { header, fileSize, snapshotTable } = image;
  const { geometry, snapshotCount, snapshotsOffset, refcountTableOffset } = header;
  if (snapshotCount === 0 || misplacedTable(image) !== undefined) return undefined;
  const { snapshots } = snapshotTable;
  const end = snapshots.findIndex((snapshot) => !isSnapshot(image, snapshot));
  const { clusterSize } = geometry;
  // A table of which nothing can be read has its first cluster all the same.
  const places = Float64Array.from(
    { length: Math.ceil(Math.max(1, snapshotTable.bytes) / clusterSize) },
    (_, index) => snapshotsOffset + index * clusterSize,
  );
  const watching = { ...options, watched: new SortedOffsets(places) };
  const others =
    (await soundCensus(image, end > 0 ? snapshots.slice(0, end) : [], watching)) ??
    (await soundCensus(image, [], watching));
  if (others === undefined) return undefined;
  const { table } = await readRefcountTable(image.disk, header, fileSize, () => undefined);
  const blocks = SortedOffsets.of(table);
  const refcountTableEnd = refcountTableOffset + header.refcountTableClusters * clusterSize;
  for (const offset of places) {
    const isRefcounts = blocks.has(offset) || (offset >= refcountTableOffset && offset < refcountTableEnd);
    if (isRefcounts || others.isUsed(offset)) return offset;
  }
  return undefined;
}

/** Of the image with these snapshots and without a table of them; undefined when something else contradicts itself. */
async function soundCensus(
  image: Image,
  snapshots: readonly Snapshot[],
  options: CensusOptions,
): Promise<Census | undefined> {
  const part: Image = { ...image, snapshotTable: { snapshots, bytes: 0 } };
  const census = await takeCensus(part, options).catch(ifInvalid);
  return census === undefined || census.findings.length > 0 ? undefined : census;
}
