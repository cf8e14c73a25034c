import {
  AUTOCLEAR_BITMAPS,
  type Geometry,
  type L2Reference,
  compressedLength,
  compressedOffset,
  cryptoHeader,
  decodeL2Entry,
  isUnalignedZero,
  plainCluster,
} from "../format/index.ts";
import { QcowalError } from "../errors/index.ts";
import { readBitmapDirectory, readBitmapTable } from "./bitmaps.ts";
import { OWNER, ReferenceCounts } from "./check/reference-counts.ts";
import { contradictions } from "./contradictions.ts";
import type { Image } from "./image.ts";
import { type L1Location, checkL1Location, readL1Table } from "./l1-table.ts";
import { readTables } from "./read-table.ts";
import type { Refcounts } from "./refcounts.ts";

/** By the numbers of `OWNER`. */
const OWNERS = ["nothing", "metadata", "an L2 table", "data", "compressed data"] as const;

/** More findings say no more. */
const MAX_FINDINGS = 10;

/** What is counted is held as a whole: a byte for a cluster, five where it has more than 31 references. */
const MAX_BYTES = 768 * 2 ** 20;

/** An entry of an L2 table, by its two halves. */
export interface UnalignedZero {
  /** Host offset of the L2 table. */
  readonly table: number;
  readonly entry: number;
  readonly high: number;
  readonly low: number;
}

/**
 * References per host cluster, counted from the tables: as many as the refcount
 * should say. What `ReferenceCounts` takes as it is has to make sense here.
 */
export class Census {
  readonly geometry: Geometry;
  /** What contradicts the format, the first of it in words. */
  readonly findings: string[] = [];
  /** Entries that read as zeros and keep a cluster at an odd place: they refer to none. */
  readonly unalignedZeros: UnalignedZero[] = [];
  readonly #counts: ReferenceCounts;
  /** Clusters that lie in the file, at least in part. */
  readonly #fileClusters: number;
  readonly #reference: L2Reference = { kind: "none", first: 0, last: 0 };

  constructor(geometry: Geometry, fileSize: number) {
    this.geometry = geometry;
    this.#counts = new ReferenceCounts(
      geometry,
      fileSize,
      MAX_BYTES,
      () => undefined,
      (cluster, one, other) =>
        this.find(`cluster ${cluster} belongs to ${OWNERS[one]} and to ${OWNERS[other]}`),
    );
    this.#counts.begin({ first: 0, end: Infinity });
    this.#fileClusters = this.#counts.clusters;
  }

  /** True when not everything fitted, and the counts are of no use. */
  get isIncomplete(): boolean {
    return this.#counts.window.end !== Infinity;
  }

  /** Blocks in which something is counted, ascending. */
  get blockIndexes(): readonly number[] {
    const { chunkClusters } = this.#counts.table;
    const perBlock = this.geometry.refcountEntries / chunkClusters;
    const indexes = new Set<number>();
    for (const chunk of this.#counts.table.chunks()) indexes.add(Math.floor(chunk / perBlock));
    return [...indexes];
  }

  /** References of the clusters of one block, by entry; undefined without any. Counting ends at 2^32 - 1. */
  counts(index: number): Uint32Array | undefined {
    const { chunkClusters } = this.#counts.table;
    const { refcountEntries } = this.geometry;
    let found: Uint32Array | undefined;
    for (let from = 0; from < refcountEntries; from += chunkClusters) {
      const chunk = this.#counts.chunk((index * refcountEntries + from) / chunkClusters);
      if (chunk === undefined) continue;
      found ??= new Uint32Array(refcountEntries);
      found.set(chunk.counts, from);
    }
    return found;
  }

  /** References to one cluster. */
  count(cluster: number): number {
    return this.#counts.count(cluster);
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
    const last = Math.floor((offset + length - 1) / this.geometry.clusterSize);
    // Its last cluster may be cut off, but what begins behind the end of the file is not there.
    if (last >= this.#fileClusters || !this.#counts.claim(offset, length, 1, OWNER.metadata)) {
      this.find(`${what} at ${hex(offset)} reaches behind the end of the file`);
    }
  }

  /** `weight` paths lead to this L2 table, and so to every cluster below it. */
  addL2Table(offset: number, words: Uint32Array, weight: number): void {
    const reference = this.#reference;
    const step = this.geometry.l2EntrySize / 4;
    this.#counts.add(offset / this.geometry.clusterSize, weight, OWNER.l2Table);
    for (let at = 0; at < words.length; at += step) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      const cluster = step === 4 ? -1 : plainCluster(this.geometry.clusterBits, high, low);
      if (cluster > 0 && cluster < this.#fileClusters) {
        this.#counts.add(cluster, weight, OWNER.data);
        continue;
      }
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
        if (isUnalignedZero(this.geometry, high, low)) {
          this.unalignedZeros.push({ table: offset, entry: at / step, high, low });
          continue;
        }
        this.find(`entry ${at / step} of the L2 table at ${hex(offset)} is invalid`);
      } else if (isCompressed ? this.#isCutOff(high, low) : reference.last >= this.#fileClusters) {
        this.find(`entry ${at / step} of the L2 table at ${hex(offset)} points behind the end of the file`);
      } else {
        for (let cluster = reference.first; cluster <= reference.last; cluster += 1) {
          this.#counts.add(cluster, weight, isCompressed ? OWNER.compressed : OWNER.data);
        }
      }
    }
  }

  /** The last sector of a compressed stream may lie behind the end of the file, but not a whole cluster. */
  #isCutOff(high: number, low: number): boolean {
    const end = compressedOffset(this.geometry, high, low) + compressedLength(this.geometry, high, low);
    return end - this.#counts.fileLength >= this.geometry.clusterSize;
  }

  isInFile(offset: number): boolean {
    return offset / this.geometry.clusterSize < this.#fileClusters;
  }
}

/**
 * Counts every reference in the image, in one pass over its tables in file
 * order. What contradicts the format is a finding; the counts are then of no use.
 * Without `refcounts` the refcount table and its blocks are left out. `onTable`
 * is called for each L2 table: what it throws calls the census off.
 * @throws QcowalError IMAGE_INVALID for a table that cannot be read at all; LIMIT_EXCEEDED
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
    if (census.isIncomplete) break;
  }
  if (census.isIncomplete) {
    throw new QcowalError(
      "LIMIT_EXCEEDED",
      `${disk.path}: what its tables refer to does not fit in memory. Nothing was changed.`,
    );
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

async function countBitmaps(image: Image, census: Census): Promise<void> {
  const found = await readBitmapDirectory(image);
  if (found === undefined) return;
  const { directory, bitmaps, problem } = found;
  if (problem !== undefined) census.find(`persistent bitmaps: ${problem}`);
  census.claim(directory.offset, directory.length, "the bitmap directory");
  for (const [index, table] of bitmaps.entries()) {
    census.claim(table.offset, table.length, `the table of bitmap ${index}`);
    for await (const targets of readBitmapTable(image, table)) {
      for (const offset of targets) {
        if (offset < 0) census.find(`an entry of the table of bitmap ${index} is invalid`);
        else census.claim(offset, image.header.geometry.clusterSize, `data of bitmap ${index}`);
      }
    }
  }
}

const hex = (offset: number): string => `0x${offset.toString(16)}`;

/** Compressed data has no subclusters, none can be two things at once, and without a cluster none is allocated. */
function subclustersDisagree(kind: L2Reference["kind"], zeros: number, allocated: number): boolean {
  if (kind === "compressed") return (zeros | allocated) !== 0;
  return (zeros & allocated) !== 0 || (kind === "none" && allocated !== 0);
}
