import { isQcowalError } from "../errors/index.ts";
import { hostOffset } from "../format/index.ts";
import {
  type Image,
  type SnapshotTable,
  checkL1Location,
  readRefcounts,
  readSnapshotTable,
  takeCensus,
} from "../image/index.ts";

/**
 * Looks for a snapshot table to which nothing points any more: in the clusters
 * that are counted and that the active layer does not account for. The image
 * with it, as if its header named it; undefined when there is none that makes
 * sense, or several do. Whether it is the right one, only the refcounts can say.
 */
export async function withFoundSnapshotTable(image: Image, onTable?: () => void): Promise<Image | undefined> {
  const { geometry } = image.header;
  const none: Image = { ...image, snapshotTable: { snapshots: [], bytes: 0 } };
  const census = await takeCensus(none, undefined, onTable);
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
      ({ id, entry }) => /^\d+$/.test(id) && isL1(image, entry.l1TableOffset, entry.l1Size),
    );
    return makesSense ? table : undefined;
  } catch (error) {
    if (isQcowalError(error, "IMAGE_INVALID")) return undefined;
    throw error;
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
