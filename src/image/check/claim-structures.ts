import {
  AUTOCLEAR_BITMAPS,
  type Geometry,
  bitmapDirectory,
  bitmapDirectoryProblem,
  bitmapExtensionProblem,
  cryptoHeader,
  decodeBitmapDirectory,
  entryOffset,
} from "../../format/index.ts";
import { QcowalError } from "../../errors/index.ts";
import { type CheckContext, readEntries } from "./context.ts";

/** Told of each structure that has clusters for itself. */
export type Claim = (offset: number, length: number, what: string) => void;

const BITMAP_RESERVED_HIGH = 0xff00_0000;
const BITMAP_RESERVED_LOW = 0x1fe;
const ALL_ONES_LOW = 1;

/** All structures but L2 tables and refcount blocks. */
export async function claimStructures(context: CheckContext, claim: Claim): Promise<void> {
  const { header, area } = context.head;
  const { clusterSize } = header.geometry;
  claim(0, clusterSize, "header");
  for (const root of context.roots) claim(root.offset, root.entries * 8, `L1 table of ${root.name}`);
  claim(header.snapshotsOffset, context.snapshotTableBytes, "snapshot table");
  claim(header.refcountTableOffset, header.refcountTableClusters * clusterSize, "refcount table");
  await reporting(context, "encryption header", () => {
    const crypto = cryptoHeader(area);
    if (crypto !== undefined) claim(crypto.offset, crypto.length, "encryption header");
  });
  if ((header.autoclearFeatures & AUTOCLEAR_BITMAPS) !== 0n) {
    await reporting(context, "bitmap directory", () => claimBitmaps(context, claim));
  }
}

/** What cannot be read at all ends its own part only. */
async function reporting(
  { findings }: CheckContext,
  where: string,
  part: () => void | Promise<void>,
): Promise<void> {
  try {
    await part();
  } catch (error) {
    if (!(error instanceof QcowalError) || error.code !== "IMAGE_INVALID") throw error;
    const what = error.message.replace(/\. Nothing was changed.*$/s, "");
    findings.add("error", () => ({ where, what }));
  }
}

async function claimBitmaps(context: CheckContext, claim: Claim): Promise<void> {
  const { disk, head, findings } = context;
  const { geometry } = head.header;
  const directory = bitmapDirectory(head.area);
  if (directory === undefined) return;
  const unfit = bitmapExtensionProblem(head.area, geometry);
  if (unfit !== undefined) findings.add("error", () => ({ where: "bitmaps extension", what: unfit }));
  claim(directory.offset, directory.length, "bitmap directory");
  const bytes = new Uint8Array(directory.length);
  await disk.read(directory.offset, bytes);
  const problem = bitmapDirectoryProblem(bytes, directory.count, geometry, head.header.virtualSize);
  if (problem !== undefined) {
    findings.add("error", () => ({ where: "bitmap directory", offset: directory.offset, what: problem }));
  }
  for (const [index, table] of decodeBitmapDirectory(bytes, directory.count).entries()) {
    const where = `table of bitmap ${index}`;
    // Said of the directory already; there is no telling where its entries would be.
    if (table.offset === 0 || table.offset % geometry.clusterSize !== 0) continue;
    claim(table.offset, table.length, where);
    for await (const { first, words } of readEntries(context, table.offset, table.length / 8)) {
      for (let at = 0; at < words.length; at += 2) {
        const high = words[at] ?? 0;
        const low = words[at + 1] ?? 0;
        const offset = entryOffset(high, low);
        if (!isBitmapEntry(geometry, high, low)) {
          findings.add("error", () => ({
            where,
            offset: table.offset,
            what: `entry ${first + at / 2} is invalid`,
          }));
        } else if (offset !== 0) claim(offset, geometry.clusterSize, `data of bitmap ${index}`);
      }
    }
  }
}

/** A cluster's offset, or a flag in bit 0 and no cluster. */
function isBitmapEntry(geometry: Geometry, high: number, low: number): boolean {
  if (((high & BITMAP_RESERVED_HIGH) | (low & BITMAP_RESERVED_LOW)) !== 0) return false;
  const offset = entryOffset(high, low);
  return offset === 0 || ((low & ALL_ONES_LOW) === 0 && offset % geometry.clusterSize === 0);
}
