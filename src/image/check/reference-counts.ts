import type { Geometry } from "../../format/index.ts";
import type { BlockWindow } from "../refcount-blocks.ts";
import { ChunkTable, OUTSIDE_WINDOW } from "./chunk-table.ts";

/** Who has a cluster. Data may share with data and compressed streams with each other; all others share with nobody. */
export const OWNER = { metadata: 1, l2Table: 2, data: 3, compressed: 4 } as const;
export type Owner = (typeof OWNER)[keyof typeof OWNER];
export const SHARED_WRONGLY = 0x80;

/** Counting stops here; no refcount that is stored exactly can be larger and right. */
export const MAX_COUNT = 2 ** 32 - 1;
const SECTOR = 512;

/** A cluster in a byte of a small chunk: the owner above, the references below. More than these make the chunk large. */
const PACKED_COUNT_BITS = 5;
const PACKED_COUNTS = 2 ** PACKED_COUNT_BITS;
export const PACKED_COUNT_MASK = PACKED_COUNTS - 1;
/** The first and the last byte that say that data has it. */
const PACKED_DATA = OWNER.data * PACKED_COUNTS;
export const PACKED_DATA_END = (OWNER.data + 1) * PACKED_COUNTS;

/** What the byte of a cluster becomes when data refers to it `weight` times more; 0 where it cannot say so. */
export function withData(packed: number, weight: number): number {
  const sum = (packed === 0 ? PACKED_DATA : packed) + weight;
  return sum < PACKED_DATA_END && (packed === 0 || packed >= PACKED_DATA) ? sum : 0;
}

/** A byte; in a large chunk 32 bits for the references of each cluster, and behind those a byte for the owner of each. */
const SIZES = { small: 1, large: 5 } as const;

/** What is counted of the clusters of one chunk. Valid until the next is asked for. */
export interface CountedChunk {
  readonly counts: Uint32Array;
  /** An `Owner`, or 0 for none; 0x80 and more: it belongs to two that must not share it. */
  readonly owners: Uint8Array;
}

/**
 * References per host cluster of a window of the file, counted by the rules of
 * `qemu-img check` from tables that may say anything. What lies outside the
 * window is passed over.
 */
export class ReferenceCounts {
  readonly geometry: Geometry;
  /** QEMU sees a file in whole sectors. */
  readonly fileLength: number;
  /** Clusters that are compared. The last may lie behind the end of the file, if only in part. */
  clusters: number;
  readonly table: ChunkTable;
  /** Told of a chunk outside the window to which something refers, perhaps more than once. */
  readonly #onOutside: (chunk: number) => void;
  /** Told of a cluster that two have that must not share it. */
  readonly #onShared: (cluster: number, one: Owner, other: Owner) => void;
  readonly #expanded: CountedChunk;

  constructor(
    geometry: Geometry,
    fileSize: number,
    maxBytes: number,
    onOutside: (chunk: number) => void = () => undefined,
    onShared: (cluster: number, one: Owner, other: Owner) => void = () => undefined,
  ) {
    this.#onShared = onShared;
    this.geometry = geometry;
    this.fileLength = Math.ceil(fileSize / SECTOR) * SECTOR;
    this.clusters = Math.ceil(this.fileLength / geometry.clusterSize);
    this.#onOutside = onOutside;
    // A claim may end in the cluster behind the last.
    this.table = new ChunkTable(geometry, SIZES, this.clusters + 1, maxBytes, undefined, onOutside);
    const { chunkClusters } = this.table;
    this.#expanded = { counts: new Uint32Array(chunkClusters), owners: new Uint8Array(chunkClusters) };
  }

  /** Starts anew with another window. */
  begin(window: BlockWindow): void {
    this.table.begin(window);
  }

  /** What is left of the window: it ends earlier when what is referred to did not fit. */
  get window(): BlockWindow {
    return this.table.window;
  }

  /** Place of the chunk in the table, made when it is not there; OUTSIDE_WINDOW where nothing is counted. */
  place(chunk: number): number {
    const place = this.table.make(chunk);
    if (place === OUTSIDE_WINDOW) this.#onOutside(chunk);
    return place;
  }

  /** Counts `weight` references of data to each cluster of a chunk; false, and nothing is, unless all of them are counted alike, or not at all. */
  addToAlike(chunk: number, weight: number): boolean {
    const sum = withData(this.table.valueOf(chunk), weight);
    return sum !== 0 && this.table.setAlike(chunk, sum);
  }

  /** References to each cluster of a chunk in which all are counted alike; 0 for any other. */
  countOfAlike(chunk: number): number {
    return this.table.valueOf(chunk) % PACKED_COUNTS;
  }

  /** How many chunks from this one on, at most `most`, have the same count in each of their clusters. */
  alikeFrom(chunk: number, most: number): number {
    const value = this.table.valueOf(chunk);
    if (value === 0) return 0;
    let count = 0;
    while (count < most && this.table.valueOf(chunk + count) === value) count += 1;
    return count;
  }

  /** What is counted in a chunk; undefined for nothing. */
  chunk(chunk: number): CountedChunk | undefined {
    const place = this.table.find(chunk);
    if (place === OUTSIDE_WINDOW) return undefined;
    const alike = this.table.valueOf(chunk);
    if (alike !== 0) {
      this.#expanded.counts.fill(alike % PACKED_COUNTS);
      this.#expanded.owners.fill(alike >>> PACKED_COUNT_BITS);
      return this.#expanded;
    }
    const { bytes, words, chunkClusters } = this.table;
    const at = Math.floor(place / 2);
    if (place % 2 === 1) {
      const owners = at + chunkClusters * 4;
      return {
        counts: words.subarray(at / 4, at / 4 + chunkClusters),
        owners: bytes.subarray(owners, owners + chunkClusters),
      };
    }
    const { counts, owners } = this.#expanded;
    for (let entry = 0; entry < chunkClusters; entry += 1) {
      const packed = bytes[at + entry] ?? 0;
      counts[entry] = packed % PACKED_COUNTS;
      owners[entry] = packed >>> PACKED_COUNT_BITS;
    }
    return this.#expanded;
  }

  /** Writes the references of a chunk to `into` from `from` on; false, and nothing is written, where nothing is counted. */
  copyCounts(chunk: number, into: Uint32Array, from: number): boolean {
    const place = this.table.find(chunk);
    if (place === OUTSIDE_WINDOW) return false;
    const { bytes, words, chunkClusters } = this.table;
    const at = Math.floor(place / 2);
    const alike = this.countOfAlike(chunk);
    if (alike !== 0) into.fill(alike, from, from + chunkClusters);
    else if (place % 2 === 1) into.set(words.subarray(at / 4, at / 4 + chunkClusters), from);
    else {
      for (let entry = 0; entry < chunkClusters; entry += 1) {
        into[from + entry] = (bytes[at + entry] ?? 0) & PACKED_COUNT_MASK;
      }
    }
    return true;
  }

  /**
   * `weight` references to every cluster of a range. False, and nothing is
   * counted, when it ends a cluster or more behind the end of the file: less is
   * what the last structure of a file that was not padded looks like.
   */
  claim(offset: number, length: number, weight: number, owner: Owner): boolean {
    if (length <= 0) return true;
    const { clusterSize } = this.geometry;
    if (offset + length - this.fileLength >= clusterSize) return false;
    const last = Math.floor((offset + length - 1) / clusterSize);
    for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster += 1) {
      this.add(cluster, weight, owner);
    }
    return true;
  }

  /** References of one cluster of the window. */
  count(cluster: number): number {
    const { bytes, words, chunkClusters } = this.table;
    const chunk = Math.floor(cluster / chunkClusters);
    const place = this.table.find(chunk);
    if (place < 0) return this.countOfAlike(chunk);
    const at = Math.floor(place / 2);
    const entry = cluster % chunkClusters;
    return place % 2 === 1 ? (words[at / 4 + entry] ?? 0) : (bytes[at + entry] ?? 0) % PACKED_COUNTS;
  }

  /** The same, as many as the refcount's width can say. */
  get(cluster: number): number {
    return Math.min(this.count(cluster), this.geometry.refcountMax);
  }

  /** Clusters of the window to which something refers. */
  used(): number {
    const { bytes, words, chunkClusters } = this.table;
    let used = 0;
    for (const chunk of this.table.chunks()) {
      const place = this.table.find(chunk);
      if (place < 0) {
        used += chunkClusters;
        continue;
      }
      const [counts, at] = place % 2 === 1 ? [words, (place - 1) / 8] : [bytes, place / 2];
      for (let entry = at; entry < at + chunkClusters; entry += 1) if (counts[entry] !== 0) used += 1;
    }
    return used;
  }

  /** `weight` references to a cluster, wherever it is. Two that have it and must not share it are `SHARED_WRONGLY`. */
  add(cluster: number, weight: number, owner: Owner): void {
    if (cluster >= this.clusters) this.clusters = cluster + 1;
    const { bytes, chunkClusters } = this.table;
    const chunk = Math.floor(cluster / chunkClusters);
    const entry = cluster % chunkClusters;
    let place = this.place(chunk);
    if (place === OUTSIDE_WINDOW) return;
    if (place % 2 === 0) {
      const at = place / 2 + entry;
      const packed = bytes[at] ?? 0;
      const sum = (packed % PACKED_COUNTS) + weight;
      const isAlone = packed === 0 && !(owner === OWNER.metadata && weight > 1);
      const isShared = owner >= OWNER.data && packed >>> PACKED_COUNT_BITS === owner;
      if (sum < PACKED_COUNTS && (isAlone || isShared)) {
        bytes[at] = owner * PACKED_COUNTS + sum;
        return;
      }
      place = this.table.enlarge(chunk, (from, to) => this.#unpack(from, to));
      if (place === OUTSIDE_WINDOW) return;
    }
    const other = this.#addToLarge(Math.floor(place / 2), entry, weight, owner);
    if (other !== 0 && (other !== owner || owner < OWNER.data)) {
      this.#onShared(cluster, (other & ~SHARED_WRONGLY) as Owner, owner);
    }
  }

  /** Returns who had it before. */
  #addToLarge(at: number, entry: number, weight: number, owner: Owner): number {
    const { bytes, words, chunkClusters } = this.table;
    const ownerAt = at + chunkClusters * 4 + entry;
    const other = bytes[ownerAt] ?? 0;
    if (other === 0) bytes[ownerAt] = owner === OWNER.metadata && weight > 1 ? owner | SHARED_WRONGLY : owner;
    else if (other !== owner || owner < OWNER.data) bytes[ownerAt] = other | SHARED_WRONGLY;
    words[at / 4 + entry] = Math.min((words[at / 4 + entry] ?? 0) + weight, MAX_COUNT);
    return other;
  }

  #unpack(from: number, to: number): void {
    const { bytes, words, chunkClusters } = this.table;
    for (let entry = 0; entry < chunkClusters; entry += 1) {
      const packed = bytes[from + entry] ?? 0;
      words[to / 4 + entry] = packed % PACKED_COUNTS;
      bytes[to + chunkClusters * 4 + entry] = packed >>> PACKED_COUNT_BITS;
    }
  }
}
