import { isQcowalError } from "../errors/index.ts";
import { MAX_SNAPSHOTS, hostOffset } from "../format/index.ts";
import {
  type Census,
  type Image,
  type Refcounts,
  type Snapshot,
  type SnapshotTable,
  checkL1Location,
  lostTable,
  readRefcountTable,
  readSnapshotEntries,
  readSnapshotTable,
  takeCensus,
  toSnapshot,
  windowsInto,
} from "../image/index.ts";
import { BYTES_PER_COUNT, countedWindow } from "./counted-window.ts";
import type { RepairOptions } from "./repair-options.ts";

const NONE: SnapshotTable = { snapshots: [], bytes: 0 };

export function ifInvalid(error: unknown): undefined {
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
  options: RepairOptions,
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
  return (await withFoundSnapshotTable(lost, options)) ?? lost;
}

/**
 * Looks for a snapshot table to which nothing points any more: in the clusters
 * that are counted and that the active layer does not account for. The image
 * with it, as if its header named it; undefined when there is none that makes
 * sense, or several do. Whether it is the right one, only the refcounts can say.
 */
async function withFoundSnapshotTable(image: Image, options: RepairOptions): Promise<Image | undefined> {
  const { disk, fileSize } = image;
  const { geometry } = image.header;
  const census = await takeCensus({ ...image, snapshotTable: NONE }, options);
  const stored = await readRefcountTable(disk, image.header, fileSize, () => undefined);
  const windows = windowsInto(disk, stored, {
    perEntry: BYTES_PER_COUNT,
    bytes: options.windowBytes,
    onBlock: options.onTable,
  });
  const found: Image[] = [];
  const counts = new Uint32Array(geometry.refcountEntries);
  for (let first = 0; first !== Infinity;) {
    const refcounts = await countedWindow(census, windows, first);
    for (const cluster of onlyCounted(census, refcounts, counts)) {
      const at = cluster * geometry.clusterSize;
      if (at >= fileSize) break;
      const table = await tableAt(image, at);
      if (table === undefined) continue;
      const header = { ...image.header, snapshotsOffset: hostOffset(at) };
      found.push({ ...image, header, snapshotTable: table });
    }
    first = refcounts.end;
  }
  return found.length === 1 ? found[0] : undefined;
}

/** Clusters of the window with refcount 1 to which nothing refers: a table has its clusters for itself. */
function* onlyCounted(census: Census, refcounts: Refcounts, into: Uint32Array): Generator<number> {
  const { refcountEntries } = refcounts.geometry;
  const end = Math.min(refcounts.end, refcounts.table.length);
  for (let index = refcounts.first; index < end; index += 1) {
    const block = refcounts.block(index);
    if (block === undefined || refcounts.isBlank(index)) continue;
    const counts = census.counts(index, into);
    for (let entry = 0; entry < refcountEntries; entry += 1) {
      if (block[entry] === 1 && (counts?.[entry] ?? 0) === 0) yield index * refcountEntries + entry;
    }
  }
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
  const there = { ...header, snapshotsOffset: hostOffset(offset) };
  const isPlausible = (snapshot: Snapshot): boolean => /^\d+$/.test(snapshot.id) && hasL1(image, snapshot);
  try {
    if (header.snapshotCount > MAX_SNAPSHOTS) return await tableOfAnyLength(image, there, isPlausible);
    const table = await readSnapshotTable(disk, there);
    return table.snapshots.every(isPlausible) ? table : undefined;
  } catch (error) {
    return ifInvalid(error);
  }
}

/** As many entries as make sense, where the header counts more than there can be. */
async function tableOfAnyLength(
  { disk }: Image,
  header: Image["header"],
  isPlausible: (snapshot: Snapshot) => boolean,
): Promise<SnapshotTable | undefined> {
  const { entries } = await readSnapshotEntries(disk, { ...header, snapshotCount: MAX_SNAPSHOTS }, (entry) =>
    isPlausible(toSnapshot(entry)),
  );
  const end = entries.indexOf(false);
  const count = end < 0 ? entries.length : end;
  if (count === 0) return undefined;
  const { snapshots, bytes } = await readSnapshotTable(disk, { ...header, snapshotCount: count });
  const rescued = { cut: 0, lost: 0, lostBehind: "limits", empty: header.snapshotCount - count } as const;
  return { snapshots, bytes, rescued };
}

/** Whether a snapshot has an L1 table where one can be. */
export function hasL1(image: Image, { entry }: Snapshot): boolean {
  return isL1(image, entry.l1TableOffset, entry.l1Size);
}

function isL1({ header, fileSize }: Image, offset: bigint, entries: number): boolean {
  try {
    const location = checkL1Location(header.geometry, offset, entries, "a snapshot");
    return location.offset > 0 && location.offset < fileSize;
  } catch {
    return false;
  }
}
