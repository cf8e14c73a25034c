import { isQcowalError } from "../errors/index.ts";
import { hostOffset } from "../format/index.ts";
import {
  type Image,
  type Snapshot,
  type SnapshotTable,
  checkL1Location,
  lostTable,
  readRefcounts,
  readSnapshotTable,
  takeCensus,
} from "../image/index.ts";

const NONE: SnapshotTable = { snapshots: [], bytes: 0 };

function ifInvalid(error: unknown): undefined {
  if (!isQcowalError(error, "IMAGE_INVALID")) throw error;
}

/**
 * The image with the snapshot table that its header should name, where it names
 * a place that cannot be one: with the one that was found, or as if it had none
 * and the header could not be read.
 */
export async function withSoughtSnapshotTable(
  image: Image,
  problem: string,
  onTable?: () => void,
): Promise<Image> {
  const { header } = image;
  const lost: Image = {
    ...image,
    header: {
      ...header,
      snapshotsOffset: hostOffset(0),
      rescued: { ...header.rescued, snapshotTable: problem },
    },
    snapshotTable: lostTable(header.snapshotCount),
  };
  return (await withFoundSnapshotTable(lost, onTable)) ?? lost;
}

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

function hasL1(image: Image, { entry }: Snapshot): boolean {
  return isL1(image, entry.l1TableOffset, entry.l1Size);
}

/**
 * Why the snapshot table cannot be where the header says, as far as all other
 * tables tell: something else is there. Undefined for a place that may be right,
 * or when the others are of no use. Of two pointers to one place either may be
 * wrong: where a table begins with a snapshot, it is the other.
 */
export async function displacedTable(image: Image, onTable?: () => void): Promise<string | undefined> {
  const { header, fileSize, snapshotTable } = image;
  const { geometry, snapshotCount, snapshotsOffset, refcountTableOffset } = header;
  if (snapshotCount === 0 || misplacedTable(image) !== undefined) return undefined;
  const [first] = snapshotTable.snapshots;
  if (first !== undefined && isPrintable(first.id) && hasL1(image, first)) return undefined;
  const others = await takeCensus({ ...image, snapshotTable: NONE }, undefined, onTable).catch(ifInvalid);
  if (others === undefined || others.findings.length > 0) return undefined;
  const { table } = await readRefcounts(image.disk, header, fileSize, onTable, () => undefined);
  const blocks = new Set(table);
  const { clusterSize } = geometry;
  const refcountTableEnd = refcountTableOffset + header.refcountTableClusters * clusterSize;
  // A table of which nothing can be read has its first cluster all the same.
  const end = snapshotsOffset + Math.max(1, snapshotTable.bytes);
  for (let offset: number = snapshotsOffset; offset < end; offset += clusterSize) {
    const isRefcounts = blocks.has(offset) || (offset >= refcountTableOffset && offset < refcountTableEnd);
    if (isRefcounts || others.count(offset / clusterSize) > 0) {
      return `Snapshot table in the place of something else ${at(header)}`;
    }
  }
  return undefined;
}

/**
 * Looks for a snapshot table to which nothing points any more: in the clusters
 * that are counted and that the active layer does not account for. The image
 * with it, as if its header named it; undefined when there is none that makes
 * sense, or several do. Whether it is the right one, only the refcounts can say.
 */
async function withFoundSnapshotTable(image: Image, onTable?: () => void): Promise<Image | undefined> {
  const { geometry } = image.header;
  const census = await takeCensus({ ...image, snapshotTable: NONE }, undefined, onTable);
  const refcounts = await readRefcounts(image.disk, image.header, image.fileSize, onTable, () => undefined);
  const found: Image[] = [];
  for (const [index, offset] of refcounts.table.entries()) {
    if (offset === 0) continue;
    for (let entry = 0; entry < geometry.refcountEntries; entry += 1) {
      const cluster = index * geometry.refcountEntries + entry;
      // A table has its clusters for itself.
      if (refcounts.get(cluster) !== 1 || census.count(cluster) > 0) continue;
      const at = cluster * geometry.clusterSize;
      const table = at < image.fileSize ? await tableAt(image, at) : undefined;
      if (table === undefined) continue;
      const header = { ...image.header, snapshotsOffset: hostOffset(at) };
      found.push({ ...image, header, snapshotTable: table });
    }
  }
  return found.length === 1 ? found[0] : undefined;
}

const FIRST_ENTRY_BYTES = 40;

async function tableAt(image: Image, offset: number): Promise<SnapshotTable | undefined> {
  const { disk } = image;
  const { rescued: _, ...header } = image.header;
  const first = Buffer.alloc(FIRST_ENTRY_BYTES);
  await disk.read(offset, first);
  // Most clusters are told by their first bytes, and cost no more.
  if (!isL1(image, first.readBigUInt64BE(0), first.readUInt32BE(8)) || first.readUInt16BE(12) === 0)
    return undefined;
  try {
    const table = await readSnapshotTable(disk, { ...header, snapshotsOffset: hostOffset(offset) });
    const makesSense = table.snapshots.every(
      (snapshot) => /^\d+$/.test(snapshot.id) && hasL1(image, snapshot),
    );
    return makesSense ? table : undefined;
  } catch (error) {
    return ifInvalid(error);
  }
}

function isL1({ header, fileSize }: Image, offset: bigint, entries: number): boolean {
  try {
    const location = checkL1Location(header.geometry, offset, entries, "a snapshot");
    return location.offset > 0 && location.offset < fileSize;
  } catch {
    return false;
  }
}
