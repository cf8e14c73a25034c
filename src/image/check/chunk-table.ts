import { invariant } from "../../errors/index.ts";
import type { Geometry } from "../../format/index.ts";
import type { BlockWindow } from "../refcount-blocks.ts";

/** Clusters of a chunk: few, so that a single reference far away costs little; refcount blocks of wide entries have fewer. */
const CHUNK_CLUSTERS = 256;
/** What is kept when the memory is full: dropping little at a time would cost a sort for each little. */
const KEPT_SHARE = 7 / 8;

/** Bytes per cluster of the two kinds of chunk: each is made small, and may be made large. */
export interface ChunkSizes {
  readonly small: number;
  readonly large: number;
}

/** Where a chunk lies that the window does not cover. */
export const OUTSIDE_WINDOW = -1;

/** Values of a byte. */
const VALUES = 256;

/**
 * Numbers about the clusters of a window of the file, in chunks that are made
 * where something is to be said. They lie in one buffer of a fixed length: when
 * it is full, the window gives up its end, at least one refcount block of it
 * always fits. What was given up is for the next window.
 *
 * The place of a chunk is its first byte in the buffer times two, plus one when it
 * is large. Making one may move all others: no place is valid afterwards.
 *
 * Of a chunk of bytes that are all alike only the value is kept, until one of them
 * is to become another: on a disk that was written in order most are. It has a place
 * in the buffer nevertheless, zeroed, which costs no memory until it is written to.
 * Its own place is negative: see `#alikePlace`.
 */
export class ChunkTable {
  readonly chunkClusters: number;
  readonly chunkBits: number;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly #sizes: ChunkSizes;
  readonly #chunksPerBlock: number;
  /** Open addressing: chunk plus one by slot, 0 for none. */
  readonly #keys: Float64Array;
  readonly #places: Int32Array;
  readonly #shift: number;
  /** Drawn anew for each table: nobody can make an image whose chunks all meet in one slot. */
  readonly #multiplier = (Math.floor(Math.random() * 2 ** 31) << 1) | 1;
  readonly #onDropped: (chunk: number) => void;
  #count = 0;
  #used = 0;
  /** Places of small chunks that were made large. */
  #free: number[] = [];
  /** The chunk that was asked for last, mostly asked for again. */
  #lastChunk = -1;
  #lastPlace = OUTSIDE_WINDOW;
  #first = 0;
  #firstChunk = 0;
  #endChunk = 0;

  /**
   * Of at most `maxBytes`, or what `clusters` need, or one block: in `buffer`, when that
   * is large enough: all zeros, and not used by anybody else. `onDropped` hears of
   * each chunk that is given up.
   */
  constructor(
    geometry: Geometry,
    sizes: ChunkSizes,
    clusters: number,
    maxBytes: number,
    buffer: ArrayBufferLike = new ArrayBuffer(0),
    onDropped: (chunk: number) => void = () => undefined,
  ) {
    this.chunkClusters = Math.min(CHUNK_CLUSTERS, geometry.refcountEntries);
    this.chunkBits = Math.log2(this.chunkClusters);
    this.#sizes = sizes;
    this.#onDropped = onDropped;
    this.#chunksPerBlock = geometry.refcountEntries / this.chunkClusters;
    const small = sizes.small * this.chunkClusters;
    const large = sizes.large * this.chunkClusters;
    const chunks = Math.ceil(clusters / this.chunkClusters);
    const least = Math.min(this.#chunksPerBlock, chunks) * large + small + large;
    const length = Math.max(least, Math.min(maxBytes, chunks * (small + large)));
    const bytes = Math.ceil(length / large) * large;
    this.bytes = bytes <= buffer.byteLength ? new Uint8Array(buffer, 0, bytes) : new Uint8Array(bytes);
    this.words = new Uint32Array(this.bytes.buffer, 0, bytes / 4);
    const slotBits = Math.max(4, Math.ceil(Math.log2(Math.min(this.bytes.length / small, chunks))) + 1);
    this.#keys = new Float64Array(2 ** slotBits);
    this.#places = new Int32Array(2 ** slotBits);
    this.#shift = 32 - slotBits;
  }

  /** Clusters of which small chunks fit. */
  get capacity(): number {
    return this.bytes.length / this.#sizes.small;
  }

  /** Bytes that chunks take. */
  get used(): number {
    return this.#used;
  }

  /** Bytes of a chunk, on the average. */
  get chunkBytes(): number {
    const small = this.#sizes.small * this.chunkClusters;
    return this.#count === 0 ? small : Math.max(small, this.#used / this.#count);
  }

  /** What is left of the window. */
  get window(): BlockWindow {
    return { first: this.#first, end: this.#endChunk / this.#chunksPerBlock };
  }

  covers(chunk: number): boolean {
    return chunk >= this.#firstChunk && chunk < this.#endChunk;
  }

  /** Forgets everything. */
  begin({ first, end }: BlockWindow): void {
    this.#lastChunk = -1;
    this.#first = first;
    this.#firstChunk = first * this.#chunksPerBlock;
    this.#endChunk = end * this.#chunksPerBlock;
    if (this.#count > 0) this.#keys.fill(0);
    this.bytes.fill(0, 0, this.#used);
    this.#count = 0;
    this.#used = 0;
    this.#free = [];
  }

  /** Place of a chunk, negative for one that is alike; OUTSIDE_WINDOW also for one that was not made. */
  find(chunk: number): number {
    const slot = this.#slotOf(chunk);
    return this.#keys[slot] === 0 ? OUTSIDE_WINDOW : (this.#places[slot] ?? 0);
  }

  /** The value of all bytes of a chunk that is alike, which is never 0; 0 for any other. */
  valueOf(chunk: number): number {
    return valueAt(this.find(chunk));
  }

  /**
   * Gives all bytes of a chunk a value above 0: of one that is not there, or is alike.
   * False, and nothing was done, for any other, and outside the window.
   */
  setAlike(chunk: number, value: number): boolean {
    let slot = this.#slotOf(chunk);
    if (this.#keys[slot] === 0) {
      if (this.#made(chunk) === OUTSIDE_WINDOW) return false;
      slot = this.#slotOf(chunk);
    } else if (valueAt(this.#places[slot] ?? 0) === 0) return false;
    this.#places[slot] = this.#alikePlace(this.#startOf(this.#places[slot] ?? 0), value);
    return true;
  }

  /** Place of a chunk of bytes, which is made when it is not there; one that is alike is written out. */
  make(chunk: number): number {
    if (chunk === this.#lastChunk) return this.#lastPlace;
    const place = this.#made(chunk);
    this.#lastChunk = chunk;
    this.#lastPlace = place;
    return place;
  }

  #made(chunk: number): number {
    let slot = this.#slotOf(chunk);
    if (this.#keys[slot] !== 0) return this.#writtenOut(slot);
    if (!this.covers(chunk)) return OUTSIDE_WINDOW;
    const length = this.#sizes.small * this.chunkClusters;
    let at = this.#free.pop();
    if (at === undefined) {
      if (!this.#makeRoom(length, chunk)) return OUTSIDE_WINDOW;
      at = this.#used;
      this.#used += length;
      slot = this.#slotOf(chunk);
    }
    this.#keys[slot] = chunk + 1;
    this.#places[slot] = at * 2;
    this.#count += 1;
    return at * 2;
  }

  #writtenOut(slot: number): number {
    const place = this.#places[slot] ?? 0;
    const value = valueAt(place);
    if (value === 0) return place;
    const at = this.#startOf(place);
    this.bytes.fill(value, at, at + this.chunkClusters);
    this.#places[slot] = at * 2;
    return at * 2;
  }

  /** Where the chunk at a place begins in the buffer. */
  #startOf(place: number): number {
    return place < OUTSIDE_WINDOW
      ? Math.floor((OUTSIDE_WINDOW - 1 - place) / VALUES) * this.chunkClusters
      : Math.floor(place / 2);
  }

  /** A chunk of bytes begins at a multiple of its length, so that there is room for the value. */
  #alikePlace(at: number, value: number): number {
    return OUTSIDE_WINDOW - 1 - ((at / this.chunkClusters) * VALUES + value);
  }

  /** Makes a small chunk large, zeroed, and hands what it held to `copy`. Returns its place. */
  enlarge(chunk: number, copy: (from: number, to: number) => void): number {
    const length = this.#sizes.large * this.chunkClusters;
    this.#lastChunk = -1;
    if (!this.#makeRoom(length, chunk)) return OUTSIDE_WINDOW;
    const slot = this.#slotOf(chunk);
    const from = this.#writtenOut(slot) / 2;
    const to = this.#used;
    this.#used += length;
    copy(from, to);
    this.bytes.fill(0, from, from + this.#sizes.small * this.chunkClusters);
    this.#free.push(from);
    this.#places[slot] = to * 2 + 1;
    return to * 2 + 1;
  }

  /** The chunks that were made, ascending. */
  chunks(): Float64Array {
    const chunks = new Float64Array(this.#count);
    const keys = this.#keys;
    let count = 0;
    for (let slot = 0; slot < keys.length; slot += 1) {
      const key = keys[slot] ?? 0;
      if (key === 0) continue;
      chunks[count] = key - 1;
      count += 1;
    }
    return chunks.toSorted();
  }

  #slotOf(chunk: number): number {
    const mask = this.#keys.length - 1;
    let slot = Math.imul(chunk | 0, this.#multiplier) >>> this.#shift;
    while (this.#keys[slot] !== 0 && this.#keys[slot] !== chunk + 1) slot = (slot + 1) & mask;
    return slot;
  }

  /** False when the window had to give up `chunk` for it. */
  #makeRoom(length: number, chunk: number): boolean {
    while (this.#used + length > this.bytes.length) {
      const { end } = this.window;
      const used = this.#used;
      this.#giveUp();
      invariant(
        this.window.end < end || this.#used < used,
        "a refcount block does not fit in the memory of a pass",
      );
      if (!this.covers(chunk)) return false;
    }
    return true;
  }

  /** Gives up the end of the window, and what lies unused between chunks. */
  #giveUp(): void {
    const large = this.#sizes.large * this.chunkClusters;
    const small = this.#sizes.small * this.chunkClusters;
    const most = Math.min(this.bytes.length * KEPT_SHARE, this.bytes.length - large - small);
    const chunks = this.chunks();
    let bytes = 0;
    for (const chunk of chunks) {
      bytes += this.find(chunk) % 2 === 1 ? large : small;
      if (bytes <= most) continue;
      const block = Math.max(Math.floor(chunk / this.#chunksPerBlock), this.#first + 1);
      this.#endChunk = Math.min(this.#endChunk, block * this.#chunksPerBlock);
      break;
    }
    this.#compact(chunks);
  }

  /** Moves the chunks that the window still covers to the start of the buffer. */
  #compact(chunks: Float64Array): void {
    const kept = chunks.filter((chunk) => this.covers(chunk));
    for (const chunk of chunks.subarray(kept.length)) this.#onDropped(chunk);
    const small = this.#sizes.small * this.chunkClusters;
    const atUnit = new Int32Array(this.bytes.length / small);
    const places = kept.map((chunk) => this.find(chunk));
    for (const [index, place] of places.entries()) atUnit[this.#startOf(place) / small] = index + 1;
    this.#keys.fill(0);
    const used = this.#used;
    let to = 0;
    for (const index of atUnit) {
      if (index === 0) continue;
      const place = places[index - 1] ?? 0;
      const value = valueAt(place);
      const isLarge = value === 0 ? place % 2 : 0;
      const from = this.#startOf(place);
      const length = (isLarge === 1 ? this.#sizes.large : this.#sizes.small) * this.chunkClusters;
      this.bytes.copyWithin(to, from, from + length);
      const chunk = kept[index - 1] ?? 0;
      const slot = this.#slotOf(chunk);
      this.#keys[slot] = chunk + 1;
      this.#places[slot] = value === 0 ? to * 2 + isLarge : this.#alikePlace(to, value);
      to += length;
    }
    this.bytes.fill(0, to, used);
    this.#lastChunk = -1;
    this.#used = to;
    this.#count = kept.length;
    this.#free = [];
  }
}

/** The value of the chunk at a place that says that it is alike, or 0. */
const valueAt = (place: number): number =>
  place < OUTSIDE_WINDOW ? (OUTSIDE_WINDOW - 1 - place) % VALUES : 0;
