import {
  AUTOCLEAR_BITMAPS,
  SECTOR_SIZE,
  bitmapDirectory,
  bitmapDirectoryProblem,
  bitmapExtensionProblem,
  cryptoHeader,
  decodeBitmapDirectory,
  entryOffset,
  isBitmapEntry,
} from "../../format/index.ts";
import { QcowalError } from "../../errors/index.ts";
import { type CheckContext, type Root, readEntries } from "./context.ts";
import { l1Segments } from "./l1-segments.ts";

/** Told of each structure that has clusters for itself. Where `weight` of them lie in one place, `owners` names the first. */
export type Claim = (
  offset: number,
  length: number,
  what: string,
  weight?: number,
  owners?: readonly string[],
) => void;

/** All structures but L2 tables and refcount blocks. */
export async function claimStructures(context: CheckContext, claim: Claim): Promise<void> {
  const { header, area } = context.head;
  const { clusterSize } = header.geometry;
  claim(0, clusterSize, "header");
  claimL1Tables(context, claim);
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

const l1TableOf = ({ name }: Root): string => `L1 table of ${name}`;

function claimL1Tables({ roots, head }: CheckContext, claim: Claim): void {
  const { clusterSize } = head.header.geometry;
  // As everywhere: less than a cluster may be missing at the end of the file, which counts in sectors.
  const limit = Math.ceil(head.fileSize / SECTOR_SIZE) * SECTOR_SIZE + clusterSize;
  const fits = ({ offset, entries }: Root): boolean => offset + entries * 8 < limit;
  for (const root of roots) if (!fits(root)) claim(root.offset, root.entries * 8, l1TableOf(root));
  for (const { offset, length, weight, roots: some } of l1Segments(roots.filter(fits), clusterSize)) {
    const owners = some.map(l1TableOf);
    // Less than its last cluster, which may not be in the file as a whole.
    claim(offset, length - clusterSize + 1, owners[0] ?? "", weight, owners);
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
    findings.add("error", "structures", () => ({ where, what }));
  }
}

async function claimBitmaps(context: CheckContext, claim: Claim): Promise<void> {
  const { disk, head, findings } = context;
  const { geometry } = head.header;
  const directory = bitmapDirectory(head.area);
  if (directory === undefined) return;
  const unfit = bitmapExtensionProblem(head.area, geometry);
  if (unfit !== undefined)
    findings.add("error", "structures", () => ({ where: "bitmaps extension", what: unfit }));
  claim(directory.offset, directory.length, "bitmap directory");
  const bytes = new Uint8Array(directory.length);
  await disk.read(directory.offset, bytes);
  const problem = bitmapDirectoryProblem(bytes, directory.count, geometry, head.header.virtualSize);
  if (problem !== undefined) {
    findings.add("error", "structures", () => ({
      where: "bitmap directory",
      offset: directory.offset,
      what: problem,
    }));
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
          findings.add("error", "structures", () => ({
            where,
            offset: table.offset,
            what: `entry ${first + at / 2} is invalid`,
          }));
        } else if (offset !== 0) claim(offset, geometry.clusterSize, `data of bitmap ${index}`);
      }
    }
  }
}
