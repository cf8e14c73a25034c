import {
  type Census,
  type Image,
  type Snapshot,
  readRefcounts,
  readSnapshotTable,
  takeCensus,
} from "../image/index.ts";
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
  onTable?: () => void,
): Promise<Image | undefined> {
  const { disk, header, snapshotTable } = image;
  const contested = await contestedOffset(image, onTable);
  if (contested === undefined) return undefined;
  const [first] = snapshotTable.snapshots;
  if (first === undefined || !isSnapshot(image, first)) {
    return withSoughtSnapshotTable(
      image,
      `Snapshot table in the place of something else ${at(header)}`,
      onTable,
    );
  }
  const before = await readSnapshotTable(disk, header, true, contested - header.snapshotsOffset);
  const reaching = snapshotTable.snapshots[before.snapshots.length];
  if (reaching === undefined || isSnapshot(image, reaching)) return undefined;
  return { ...image, snapshotTable: before };
}

/** The first cluster of the snapshot table that is the active layer's, or one of the snapshots' before the first entry that is none. */
async function contestedOffset(image: Image, onTable?: () => void): Promise<number | undefined> {
  const { header, fileSize, snapshotTable } = image;
  const { geometry, snapshotCount, snapshotsOffset, refcountTableOffset } = header;
  if (snapshotCount === 0 || misplacedTable(image) !== undefined) return undefined;
  const { snapshots } = snapshotTable;
  const end = snapshots.findIndex((snapshot) => !isSnapshot(image, snapshot));
  const others =
    (await soundCensus(image, end > 0 ? snapshots.slice(0, end) : [], onTable)) ??
    (await soundCensus(image, [], onTable));
  if (others === undefined) return undefined;
  const { table } = await readRefcounts(image.disk, header, fileSize, onTable, () => undefined);
  const blocks = new Set(table);
  const { clusterSize } = geometry;
  const refcountTableEnd = refcountTableOffset + header.refcountTableClusters * clusterSize;
  // A table of which nothing can be read has its first cluster all the same.
  const tableEnd = snapshotsOffset + Math.max(1, snapshotTable.bytes);
  for (let offset: number = snapshotsOffset; offset < tableEnd; offset += clusterSize) {
    const isRefcounts = blocks.has(offset) || (offset >= refcountTableOffset && offset < refcountTableEnd);
    if (isRefcounts || others.count(offset / clusterSize) > 0) return offset;
  }
  return undefined;
}

/** Of the image with these snapshots and without a table of them; undefined when something else contradicts itself. */
async function soundCensus(
  image: Image,
  snapshots: readonly Snapshot[],
  onTable?: () => void,
): Promise<Census | undefined> {
  const part: Image = { ...image, snapshotTable: { snapshots, bytes: 0 } };
  const census = await takeCensus(part, undefined, onTable).catch(ifInvalid);
  return census === undefined || census.findings.length > 0 ? undefined : census;
}
