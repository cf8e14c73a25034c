import type { Disk } from "../disk/index.ts";
import {
  AUTOCLEAR_BITMAPS,
  type Geometry,
  type L2Reference,
  bitmapDirectory,
  bitmapDirectoryProblem,
  bitmapExtensionProblem,
  compressedLength,
  compressedOffset,
  cryptoHeader,
  decodeBitmapDirectory,
  decodeL2Entry,
  entryOffset,
  isBitmapEntry,
} from "../format/index.ts";
import { contradictions } from "./contradictions.ts";
import type { Image } from "./image.ts";
import { type L1Location, checkL1Location, readL1Table } from "./l1-table.ts";
import { readTables } from "./read-table.ts";
import type { Refcounts } from "./refcounts.ts";

/** Who may share a cluster with whom: data with data, compressed streams with each other, all others with nobody. */
const OWNERS = ["nothing", "metadata", "an L2 table", "data", "compressed data"] as const;
const METADATA = 1;
const L2_TABLE = 2;
const DATA = 3;
const COMPRESSED = 4;

/** More findings say no more. */
const MAX_FINDINGS = 10;
const MAX_COUNT = 2 ** 32 - 1;
const PIECE_BYTES = 1024 * 1024;
const SECTOR = 512;

interface Block {
  readonly counts: Uint32Array;
  readonly owners: Uint8Array;
}

/**
 * References per host cluster, counted from the tables: as many as the refcount
 * should say. Flat arrays by refcount block, in the units in which refcounts are
 * stored, so that both can be compared side by side.
 */
export class Census {
  readonly geometry: Geometry;
  /** What contradicts the format, the first of it in words. */
  readonly findings: string[] = [];
  readonly #blocks = new Map<number, Block>();
  /** In whole sectors. */
  readonly #fileLength: number;
  /** Clusters that lie in the file, at least in part. */
  readonly #fileClusters: number;
  readonly #reference: L2Reference = { kind: "none", first: 0, last: 0 };
  #lastIndex = -1;
  #lastBlock: Block = { counts: new Uint32Array(0), owners: new Uint8Array(0) };

  constructor(geometry: Geometry, fileSize: number) {
    this.geometry = geometry;
    this.#fileLength = Math.ceil(fileSize / SECTOR) * SECTOR;
    this.#fileClusters = Math.ceil(this.#fileLength / geometry.clusterSize);
  }

  /** Blocks in which something is counted, ascending. */
  get blockIndexes(): readonly number[] {
    return [...this.#blocks.keys()].toSorted((a, b) => a - b);
  }

  /** References of the clusters of one block, by entry; undefined without any. */
  counts(index: number): Uint32Array | undefined {
    return this.#blocks.get(index)?.counts;
  }

  /** References to one cluster. */
  count(cluster: number): number {
    const { refcountEntries } = this.geometry;
    return this.#blocks.get(Math.floor(cluster / refcountEntries))?.counts[cluster % refcountEntries] ?? 0;
  }

  find(what: string): void {
    if (this.findings.length < MAX_FINDINGS) this.findings.push(what);
  }

  /** True when more findings would say no more, and counting is of no use. */
  get isHopeless(): boolean {
    return this.findings.length >= MAX_FINDINGS;
  }

  /** One reference to each cluster of a structure that has them for itself. */
  claim(offset: number, length: number, what: string): void {
    if (length === 0 || this.isHopeless) return;
    const { clusterSize } = this.geometry;
    const first = Math.floor(offset / clusterSize);
    const last = Math.floor((offset + length - 1) / clusterSize);
    if (last >= this.#fileClusters) {
      this.find(`${what} at ${hex(offset)} reaches behind the end of the file`);
      return;
    }
    for (let cluster = first; cluster <= last; cluster += 1) this.#add(cluster, 1, METADATA);
  }

  /** `weight` paths lead to this L2 table, and so to every cluster below it. */
  addL2Table(offset: number, words: Uint32Array, weight: number): void {
    const reference = this.#reference;
    const step = this.geometry.l2EntrySize / 4;
    this.#add(offset / this.geometry.clusterSize, weight, L2_TABLE);
    for (let at = 0; at < words.length; at += step) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      const zeros = step === 4 ? (words[at + 2] ?? 0) : 0;
      const allocated = step === 4 ? (words[at + 3] ?? 0) : 0;
      if ((high | low | zeros | allocated) === 0) continue;
      decodeL2Entry(this.geometry, high, low, reference);
      if (subclustersDisagree(reference.kind, zeros, allocated)) {
        this.find(`entry ${at / step} of the L2 table at ${hex(offset)} contradicts its subclusters`);
      }
      if (reference.kind === "none") continue;
      const isCompressed = reference.kind === "compressed";
      if (reference.kind === "invalid") {
        this.find(`entry ${at / step} of the L2 table at ${hex(offset)} is invalid`);
      } else if (isCompressed ? this.#isCutOff(high, low) : reference.last >= this.#fileClusters) {
        this.find(`entry ${at / step} of the L2 table at ${hex(offset)} points behind the end of the file`);
      } else {
        for (let cluster = reference.first; cluster <= reference.last; cluster += 1) {
          this.#add(cluster, weight, isCompressed ? COMPRESSED : DATA);
        }
      }
    }
  }

  /** The last sector of a compressed stream may lie behind the end of the file, but not a whole cluster. */
  #isCutOff(high: number, low: number): boolean {
    const end = compressedOffset(this.geometry, high, low) + compressedLength(this.geometry, high, low);
    return end - this.#fileLength >= this.geometry.clusterSize;
  }

  isInFile(offset: number): boolean {
    return offset / this.geometry.clusterSize < this.#fileClusters;
  }

  #add(cluster: number, weight: number, owner: number): void {
    const { refcountEntries } = this.geometry;
    const index = Math.floor(cluster / refcountEntries);
    if (index !== this.#lastIndex) {
      this.#lastBlock = this.#blocks.get(index) ?? {
        counts: new Uint32Array(refcountEntries),
        owners: new Uint8Array(refcountEntries),
      };
      this.#blocks.set(index, this.#lastBlock);
      this.#lastIndex = index;
    }
    const { counts, owners } = this.#lastBlock;
    const entry = cluster % refcountEntries;
    const other = owners[entry] ?? 0;
    if (other === 0) owners[entry] = owner;
    else if (other !== owner || owner === METADATA || owner === L2_TABLE) {
      this.find(`cluster ${cluster} belongs to ${OWNERS[other]} and to ${OWNERS[owner]}`);
    }
    const count = (counts[entry] ?? 0) + weight;
    if (count > MAX_COUNT) this.find(`cluster ${cluster} has more references than can be counted`);
    counts[entry] = count;
  }
}

/**
 * Counts every reference in the image, in one pass over its tables in file
 * order. What contradicts the format is a finding; the counts are then of no use.
 * Without `refcounts` the refcount table and its blocks are left out. `onTable`
 * is called for each L2 table: what it throws calls the census off.
 * @throws QcowalError IMAGE_INVALID for a table that cannot be read at all
 */
export async function takeCensus(
  image: Image,
  refcounts: Refcounts | undefined,
  onTable?: () => void,
): Promise<Census> {
  const { disk, header, fileSize } = image;
  const { geometry } = header;
  const census = new Census(geometry, fileSize);
  for (const what of contradictions(image)) census.find(what);
  census.claim(0, geometry.clusterSize, "the header");
  if (refcounts !== undefined) claimRefcounts(image, refcounts, census);
  census.claim(header.snapshotsOffset, image.snapshotTable.bytes, "the snapshot table");
  const crypto = cryptoHeader(image.area);
  if (crypto !== undefined) census.claim(crypto.offset, crypto.length, "the encryption header");
  if (header.autoclearFeatures & AUTOCLEAR_BITMAPS) await countBitmaps(image, census);
  const weights = await l2Weights(image, census);
  const offsets = [...weights.keys()].toSorted((a, b) => a - b);
  for await (const { offset, words } of readTables(disk, offsets, geometry.clusterSize)) {
    onTable?.();
    census.addL2Table(offset, words, weights.get(offset) ?? 0);
  }
  return census;
}

function claimRefcounts({ header }: Image, { table }: Refcounts, census: Census): void {
  const { clusterSize } = header.geometry;
  census.claim(header.refcountTableOffset, header.refcountTableClusters * clusterSize, "the refcount table");
  for (const offset of table) if (offset !== 0) census.claim(offset, clusterSize, "a refcount block");
}

function* roots({ disk, header, snapshotTable }: Image): Generator<readonly [L1Location, string]> {
  yield [{ offset: header.l1TableOffset, entries: header.l1Size }, "the active L1 table"];
  for (const { id, entry } of snapshotTable.snapshots) {
    const owner = `${disk.path}: snapshot id ${id}`;
    yield [
      checkL1Location(header.geometry, entry.l1TableOffset, entry.l1Size, owner),
      `the L1 table of snapshot id ${id}`,
    ];
  }
}

/** How many L1 entries of all roots point to each L2 table, by its host offset. */
async function l2Weights(image: Image, census: Census): Promise<Map<number, number>> {
  const weights = new Map<number, number>();
  for (const [location, what] of roots(image)) {
    census.claim(location.offset, location.entries * 8, what);
    // Tables that overlap, thousands of them perhaps: there is nothing to be counted.
    if (census.isHopeless) break;
    const { targets } = await readL1Table(image.disk, image.header.geometry, location);
    for (const target of targets) {
      if (target === 0) continue;
      if (census.isInFile(target)) weights.set(target, (weights.get(target) ?? 0) + 1);
      else census.find(`${what} points behind the end of the file (${hex(target)})`);
    }
  }
  return weights;
}

async function countBitmaps({ disk, area, header }: Image, census: Census): Promise<void> {
  const directory = bitmapDirectory(area);
  if (directory === undefined) return;
  const unfit = bitmapExtensionProblem(area, header.geometry);
  if (unfit !== undefined) census.find(`bitmaps extension: ${unfit}`);
  census.claim(directory.offset, directory.length, "the bitmap directory");
  const bytes = new Uint8Array(directory.length);
  await disk.read(directory.offset, bytes);
  const problem = bitmapDirectoryProblem(bytes, directory.count, header.geometry, header.virtualSize);
  if (problem !== undefined) census.find(`bitmap directory: ${problem}`);
  for (const [index, table] of decodeBitmapDirectory(bytes, directory.count).entries()) {
    census.claim(table.offset, table.length, `the table of bitmap ${index}`);
    await countBitmapData(disk, header.geometry, table, index, census);
  }
}

/** A table entry is a cluster's offset like that of an L1 table, or a flag in bit 0 and no cluster. */
async function countBitmapData(
  disk: Disk,
  geometry: Geometry,
  table: { readonly offset: number; readonly length: number },
  index: number,
  census: Census,
): Promise<void> {
  // A length from the file: what lies behind its end holds no entries.
  const end = Math.min(table.offset + table.length, await disk.size());
  for (let at = table.offset; at < end; at += PIECE_BYTES) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, end - at));
    await disk.read(at, piece);
    const view = new DataView(piece.buffer);
    for (let entry = 0; entry + 8 <= piece.length; entry += 8) {
      const high = view.getUint32(entry);
      const low = view.getUint32(entry + 4);
      const offset = entryOffset(high, low);
      if (!isBitmapEntry(geometry, high, low) || !Number.isSafeInteger(offset)) {
        census.find(`an entry of the table of bitmap ${index} is invalid`);
      } else if (offset !== 0) census.claim(offset, geometry.clusterSize, `data of bitmap ${index}`);
    }
  }
}

const hex = (offset: number): string => `0x${offset.toString(16)}`;

/** Compressed data has no subclusters, none can be two things at once, and without a cluster none is allocated. */
function subclustersDisagree(kind: L2Reference["kind"], zeros: number, allocated: number): boolean {
  if (kind === "compressed") return (zeros | allocated) !== 0;
  return (zeros & allocated) !== 0 || (kind === "none" && allocated !== 0);
}
