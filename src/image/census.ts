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
import { readBitmapDirectory, readBitmapTable } from "./bitmaps.ts";
import { OWNER, PACKED_DATA_END, ReferenceCounts, withData } from "./check/reference-counts.ts";
import { roots, subclustersDisagree } from "./census-parts.ts";
import { contradictions } from "./contradictions.ts";
import { FirstFindings } from "./first-findings.ts";
import type { Image } from "./image.ts";
import { L1Reader } from "./l1-reader.ts";
import type { L1Location } from "./l1-table.ts";
import type { BlockWindow } from "./refcount-blocks.ts";
import { WINDOW_BYTES } from "./refcount-windows.ts";
import { SortedOffsets } from "./sorted-offsets.ts";
import { TablePass } from "./table-pass.ts";
import { PathCounter, TableWeights } from "./table-weights.ts";

/** By the numbers of `OWNER`. */
const OWNERS = ["nothing", "metadata", "an L2 table", "data", "compressed data"] as const;

/** Of the memory for a window: a byte for a cluster, five where it has more than 31 references. */
const COUNTS_SHARE = 3 / 8;

/** An entry of an L2 table, by its two halves. */
export interface UnalignedZero {
  /** Host offset of the L2 table. */
  readonly table: number;
  readonly entry: number;
  readonly high: number;
  readonly low: number;
}

export interface CensusOptions {
  /** Host offsets of clusters of which `isUsed` is to be known afterwards. */
  readonly watched?: SortedOffsets;
  /** What a window of the file may take in memory. */
  readonly windowBytes?: number | undefined;
  /** Called for each L2 table that is read: what it throws calls the census off. */
  readonly onTable?: (() => void) | undefined;
  /** Told of entries that read as zeros and keep a cluster at an odd place: they refer to none. */
  readonly onUnalignedZero?: (zero: UnalignedZero) => void;
}

/**
 * References per host cluster, counted from the tables: as many as the refcount
 * should say. What `ReferenceCounts` takes as it is has to make sense here. What
 * contradicts the format is a finding; the counts are then of no use.
 *
 * They are held for a window of the file at a time: a file that is larger takes
 * more passes over its tables. Everything but the counts is known after `take`.
 */
export class Census {
  readonly geometry: Geometry;
  readonly #image: Image;
  readonly #options: CensusOptions;
  readonly #counts: ReferenceCounts;
  readonly #found = new FirstFindings();
  readonly #watched: SortedOffsets;
  readonly #isUsed: Uint8Array;
  /** Clusters that lie in the file, at least in part. */
  readonly #fileClusters: number;
  readonly #reference: L2Reference = { kind: "none", first: 0, last: 0 };
  #isFirst = true;
  #blockIndexes: Float64Array | undefined;
  /** Where windows ended before: that much fits. */
  readonly #ends: number[] = [];
  /** Host offsets of clusters that were added; 0 stands for none. */
  #added: Float64Array = new Float64Array(0);
  #tables = new TableWeights();
  #pass: TablePass | undefined;

  constructor(image: Image, options: CensusOptions = {}) {
    const { geometry } = image.header;
    const { watched = new SortedOffsets(new Float64Array(0)), windowBytes = WINDOW_BYTES } = options;
    this.geometry = geometry;
    this.#image = image;
    this.#options = options;
    this.#watched = watched;
    this.#isUsed = new Uint8Array(watched.length);
    this.#counts = new ReferenceCounts(
      geometry,
      image.fileSize,
      windowBytes * COUNTS_SHARE,
      () => undefined,
      (cluster, one, other) =>
        this.find(`cluster ${cluster} belongs to ${OWNERS[one]} and to ${OWNERS[other]}`),
    );
    this.#fileClusters = this.#counts.clusters;
  }

  /** What contradicts the format, the first of it in words. */
  get findings(): string[] {
    return this.#found.words;
  }

  /** The window that is counted now. */
  get window(): BlockWindow {
    return this.#counts.window;
  }

  /** True when a single window holds everything. */
  get isWhole(): boolean {
    const { first, end } = this.window;
    return first === 0 && end === Infinity;
  }

  /** What the counts of the window take. */
  get heldBytes(): number {
    return this.#counts.table.used;
  }

  /** The L2 tables to which paths lead. */
  get tables(): SortedOffsets {
    return this.#tables.tables;
  }

  /** Whether anything refers to a watched cluster, structures that were added later aside. */
  isUsed(offset: number): boolean {
    return this.#isUsed[this.#watched.indexOf(offset)] === 1;
  }

  /** Goes over the file once, window after window; the last of them is held. */
  async take(): Promise<void> {
    for (let first = 0; ;) {
      await this.begin({ first, end: Infinity });
      const { end } = this.window;
      if (end === Infinity || this.isHopeless) return;
      this.#ends.push(end);
      first = end;
    }
  }

  /** Counts what lies in a window, which ends earlier when not everything fits. */
  async begin(window: BlockWindow): Promise<void> {
    const fits = this.#ends.find((end) => end > window.first) ?? this.#endOfFull(window.first);
    this.#counts.begin({ first: window.first, end: Math.min(window.end, fits) });
    this.#found.restart();
    await this.#claimStructures();
    await this.#countTables();
    this.#isFirst = false;
    this.#noteUsed();
    this.#countAdded();
  }

  /** Where a window ends that fits if everything in it is referred to. */
  #endOfFull(first: number): number {
    const { refcountEntries } = this.geometry;
    const { windowBytes = WINDOW_BYTES } = this.#options;
    const end = first + Math.max(1, Math.floor((windowBytes * COUNTS_SHARE) / refcountEntries));
    return end * refcountEntries > this.#fileClusters ? Infinity : end;
  }

  /** From now on structures have these clusters for themselves, to which nothing else refers; 0 stands for none. */
  add(offsets: Float64Array): void {
    this.#added = offsets;
    this.#countAdded();
  }

  #countAdded(): void {
    this.#blockIndexes = undefined;
    for (const offset of this.#added) {
      if (offset !== 0) this.#counts.add(offset / this.geometry.clusterSize, 1, OWNER.metadata);
    }
  }

  /** Blocks in which something is counted, ascending. */
  get blockIndexes(): Float64Array {
    this.#blockIndexes ??= this.#countedBlocks();
    return this.#blockIndexes;
  }

  #countedBlocks(): Float64Array {
    const { chunkClusters } = this.#counts.table;
    const perBlock = this.geometry.refcountEntries / chunkClusters;
    const indexes = this.#counts.table.chunks();
    let count = 0;
    for (const chunk of indexes) {
      const index = Math.floor(chunk / perBlock);
      if (count === 0 || index !== indexes[count - 1]) indexes[count++] = index;
    }
    return indexes.slice(0, count);
  }

  /**
   * References of the clusters of one block, by entry; undefined without any. Counting
   * ends at 2^32 - 1. Written to `into`, which has that many elements.
   */
  counts(index: number, into: Uint32Array): Uint32Array | undefined {
    const { chunkClusters } = this.#counts.table;
    const { refcountEntries } = this.geometry;
    let isCounted = false;
    let blank = 0;
    for (let from = 0; from < refcountEntries; from += chunkClusters) {
      if (!this.#counts.copyCounts((index * refcountEntries + from) / chunkClusters, into, from)) continue;
      into.fill(0, blank, from);
      blank = from + chunkClusters;
      isCounted = true;
    }
    into.fill(0, blank);
    return isCounted ? into : undefined;
  }

  find(what: string): void {
    this.#found.add(what, this.#isFirst);
  }

  /** True when more findings would say no more, and counting is of no use. */
  get isHopeless(): boolean {
    return this.#found.isFull;
  }

  async #claimStructures(): Promise<void> {
    const { header, area, snapshotTable } = this.#image;
    if (this.#isFirst) for (const what of contradictions(this.#image)) this.find(what);
    this.#claim(0, this.geometry.clusterSize, "the header");
    this.#claim(header.snapshotsOffset, snapshotTable.bytes, "the snapshot table");
    const crypto = cryptoHeader(area);
    if (crypto !== undefined) this.#claim(crypto.offset, crypto.length, "the encryption header");
    if (header.autoclearFeatures & AUTOCLEAR_BITMAPS) await this.#countBitmaps();
    const paths = new PathCounter();
    const reader = new L1Reader(this.#image.disk, this.geometry);
    for (const [location, what] of roots(this.#image)) {
      this.#claim(location.offset, location.entries * 8, what);
      // Tables that overlap, thousands of them perhaps: there is nothing to be counted.
      if (this.isHopeless) break;
      if (this.#isFirst) await this.#addPaths(location, what, reader, paths);
    }
    if (this.#isFirst) this.#tables = paths.weights();
  }

  /** One reference to each cluster of a structure that has them for itself. */
  #claim(offset: number, length: number, what: string): void {
    this.#found.proceed();
    if (length === 0 || this.isHopeless) return;
    const last = Math.floor((offset + length - 1) / this.geometry.clusterSize);
    // Its last cluster may be cut off, but what begins behind the end of the file is not there.
    const isInFile = last < this.#fileClusters && this.#counts.claim(offset, length, 1, OWNER.metadata);
    if (!isInFile && this.#isFirst) this.find(`${what} at ${hex(offset)} reaches behind the end of the file`);
  }

  /** How many L1 entries of all roots point to each L2 table. */
  async #addPaths(location: L1Location, what: string, reader: L1Reader, paths: PathCounter): Promise<void> {
    const { targets } = await reader.read(location);
    for (const target of targets) {
      if (target === 0) continue;
      if (target / this.geometry.clusterSize < this.#fileClusters) paths.add(target);
      else this.find(`${what} points behind the end of the file (${hex(target)})`);
    }
  }

  async #countBitmaps(): Promise<void> {
    const found = await readBitmapDirectory(this.#image);
    if (found === undefined) return;
    const { directory, bitmaps, problem } = found;
    if (problem !== undefined && this.#isFirst) this.find(`persistent bitmaps: ${problem}`);
    this.#claim(directory.offset, directory.length, "the bitmap directory");
    for (const [index, table] of bitmaps.entries()) {
      this.#claim(table.offset, table.length, `the table of bitmap ${index}`);
      for await (const targets of readBitmapTable(this.#image, table)) {
        for (const offset of targets) {
          if (offset >= 0) this.#claim(offset, this.geometry.clusterSize, `data of bitmap ${index}`);
          else if (this.#isFirst) this.find(`an entry of the table of bitmap ${index} is invalid`);
        }
      }
    }
  }

  /** In file order. Of the tables that lead nowhere in the window, their own clusters are counted only. */
  async #countTables(): Promise<void> {
    this.#pass ??= new TablePass(this.#image, this.tables, this.#options.onTable);
    let next = 0;
    const countTo = (end: number): void => {
      const { offsets } = this.tables;
      for (; next < end; next += 1) {
        this.#found.proceed();
        const cluster = (offsets[next] ?? 0) / this.geometry.clusterSize;
        this.#counts.add(cluster, this.#tables.weights[next] ?? 0, OWNER.l2Table);
      }
    };
    const isLarge = this.#fileClusters > this.#counts.table.capacity;
    for await (const { offset, words } of this.#pass.tables(this.window, isLarge)) {
      const index = this.tables.indexOf(offset);
      countTo(index + 1);
      this.#addEntries(offset, words, this.#tables.weights[index] ?? 0);
    }
    countTo(this.tables.length);
  }

  /** `weight` paths lead to this L2 table, and so to every cluster below it. */
  #addEntries(offset: number, words: Uint32Array, weight: number): void {
    const { clusterBits, l2EntrySize } = this.geometry;
    const { bytes, chunkBits, chunkClusters } = this.#counts.table;
    const reference = this.#reference;
    const step = l2EntrySize / 4;
    // Every entry of a disk comes through this loop: the common kind is counted in it.
    const plainEnd = step === 4 ? 0 : this.#fileClusters;
    const packedWeight = Math.min(weight, PACKED_DATA_END) | 0;
    let chunk = -1;
    let place = 0;
    for (let at = 0; at < words.length; at += step) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      const cluster = plainCluster(clusterBits, high, low);
      if (cluster > 0 && cluster < plainEnd) {
        if (cluster >>> chunkBits !== chunk) {
          chunk = cluster >>> chunkBits;
          place = this.#counts.place(chunk);
        }
        if (place < 0) continue;
        if ((place & 1) === 0) {
          const index = (place >> 1) + (cluster & (chunkClusters - 1));
          const packed = withData(bytes[index] ?? 0, packedWeight);
          if (packed !== 0) {
            bytes[index] = packed;
            continue;
          }
        }
        this.#found.proceedTo(at / step);
        this.#counts.add(cluster, weight, OWNER.data);
        chunk = -1;
        continue;
      }
      chunk = -1;
      const zeros = step === 4 ? (words[at + 2] ?? 0) : 0;
      const allocated = step === 4 ? (words[at + 3] ?? 0) : 0;
      if ((high | low | zeros | allocated) === 0) continue;
      this.#found.proceedTo(at / step);
      decodeL2Entry(this.geometry, high, low, reference);
      if (subclustersDisagree(reference.kind, zeros, allocated)) {
        this.#findEntry(offset, at / step, "contradicts its subclusters");
      }
      if (reference.kind === "none") continue;
      const isCompressed = reference.kind === "compressed";
      if (reference.kind === "invalid") {
        if (!isUnalignedZero(this.geometry, high, low)) this.#findEntry(offset, at / step, "is invalid");
        else if (this.#isFirst) {
          this.#options.onUnalignedZero?.({ table: offset, entry: at / step, high, low });
        }
      } else if (isCompressed ? this.#isCutOff(high, low) : reference.last >= this.#fileClusters) {
        this.#findEntry(offset, at / step, "points behind the end of the file");
      } else {
        for (let cluster = reference.first; cluster <= reference.last; cluster += 1) {
          this.#counts.add(cluster, weight, isCompressed ? OWNER.compressed : OWNER.data);
        }
      }
    }
  }

  #findEntry(table: number, entry: number, what: string): void {
    if (this.#isFirst) this.find(`entry ${entry} of the L2 table at ${hex(table)} ${what}`);
  }

  /** The last sector of a compressed stream may lie behind the end of the file, but not a whole cluster. */
  #isCutOff(high: number, low: number): boolean {
    const end = compressedOffset(this.geometry, high, low) + compressedLength(this.geometry, high, low);
    return end - this.#counts.fileLength >= this.geometry.clusterSize;
  }

  #noteUsed(): void {
    const { refcountEntries, clusterSize } = this.geometry;
    const { first, end } = this.window;
    const { offsets } = this.#watched;
    const bytesPerBlock = refcountEntries * clusterSize;
    for (let at = this.#watched.firstFrom(first * bytesPerBlock); at < offsets.length; at += 1) {
      const offset = offsets[at] ?? 0;
      if (offset >= end * bytesPerBlock) break;
      if (this.#counts.count(offset / clusterSize) > 0) this.#isUsed[at] = 1;
    }
  }
}

/**
 * Counts every reference in the image, in passes over its tables in file order,
 * but for the refcount table and its blocks.
 * @throws QcowalError IMAGE_INVALID for a table that cannot be read at all
 */
export async function takeCensus(image: Image, options: CensusOptions = {}): Promise<Census> {
  const census = new Census(image, options);
  await census.take();
  return census;
}

const hex = (offset: number): string => `0x${offset.toString(16)}`;
