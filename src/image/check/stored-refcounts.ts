import type { Disk } from "../../disk/index.ts";
import {
  type Geometry,
  type Header,
  type RefcountArray,
  decodeRefcountBlock,
  tableWords,
} from "../../format/index.ts";
import { type BlockWindow, readRefcountBlocks } from "../refcount-blocks.ts";

const WORD = 2 ** 32;
const RESERVED_LOW = 0x1ff;
/** QEMU reads nothing that ends behind this. */
const MAX_FILE_LENGTH = 2 ** 63 - 2 ** 30;

const RESERVED = 1;
const UNALIGNED = 2;

/** Entries of a block that are looked at in one call: a loop over all of a block would be compiled anew for each. */
const PIECE = 1024;

/** What a refcount block holds, in numbers. */
export interface BlockUse {
  /** Entries above 0. */
  readonly used: number;
  /** The last of them; -1 for none. */
  readonly last: number;
}
const UNUSED: BlockUse = { used: 0, last: -1 };

/** A refcount block in memory. */
export interface HeldBlock {
  /** As it is stored, but for what decoding does in place. */
  readonly bytes: Buffer;
  readonly refcounts: RefcountArray;
}

/** No bits are held of a block: its refcounts are not 1, or they cannot be read. */
export const NO_ONES = -1;
export const UNREADABLE = -2;

/**
 * The refcount table, and of the blocks of a window which refcounts are exactly
 * 1: a bit each, all that the COPIED flags need. The refcounts themselves are
 * streamed again when they are compared, so that memory does not grow with their
 * width; but for a block that others are like, on a disk that was written in order
 * almost all, which is kept.
 */
export class StoredRefcounts {
  readonly geometry: Geometry;
  /**
   * Host offset of the block of each slot that lies in the file, 0 for none.
   * Above 2^53 it is not exact, and lies behind every file. Flat, because a
   * damaged header may say that there are a million slots.
   */
  readonly offsets: Float64Array;
  /** The bits of all blocks that are held; see `onesAt`. */
  ones = new Uint8Array(0);
  readonly #flags: Uint8Array;
  readonly #fileSize: number;
  /** Bytes of the bits of one block. */
  readonly #bytes: number;
  #window: BlockWindow = { first: 0, end: 0 };
  /** By slot of the window: the number of its block among those that are held, from 1; 0 for a block of zeros. */
  #held = new Uint32Array(0);
  /** By number of the block: entries above 0, and the last of them. */
  #used = new Uint32Array(0);
  #last = new Uint32Array(0);
  /** The first block of the window that another one was like, and its number. */
  #repeated: HeldBlock | undefined;
  #repeatedNumber = 0;

  private constructor(geometry: Geometry, fileSize: number, words: Uint32Array) {
    this.geometry = geometry;
    this.#fileSize = fileSize;
    this.#bytes = Math.ceil(geometry.refcountEntries / 8);
    this.offsets = new Float64Array(words.length / 2);
    this.#flags = new Uint8Array(words.length / 2);
    for (let index = 0; index < this.offsets.length; index += 1) {
      const low = words[index * 2 + 1] ?? 0;
      const offsetLow = (low & ~RESERVED_LOW) >>> 0;
      this.offsets[index] = (words[index * 2] ?? 0) * WORD + offsetLow;
      this.#flags[index] =
        ((low & RESERVED_LOW) === 0 ? 0 : RESERVED) |
        (offsetLow % geometry.clusterSize === 0 ? 0 : UNALIGNED);
    }
  }

  /** Reads the table. */
  static async read(disk: Disk, header: Header, fileSize: number): Promise<StoredRefcounts> {
    const { geometry } = header;
    // What lies behind the end of the file reads as zeros: no blocks.
    const inFile = Math.max(0, Math.ceil((fileSize - header.refcountTableOffset) / 8) * 8);
    const bytes = Buffer.alloc(Math.min(header.refcountTableClusters * geometry.clusterSize, inFile));
    await disk.read(header.refcountTableOffset, bytes);
    return new StoredRefcounts(geometry, fileSize, tableWords(bytes));
  }

  /** False for a block that QEMU cannot read either: its refcounts are unknown. */
  isReadable(index: number): boolean {
    const offset = this.offset(index);
    if (offset === 0) return true;
    return this.isAligned(index) && offset + this.geometry.clusterSize <= MAX_FILE_LENGTH;
  }

  offset(index: number): number {
    return this.offsets[index] ?? 0;
  }

  /** True when reserved bits of the slot are set. */
  isReserved(index: number): boolean {
    return ((this.#flags[index] ?? 0) & RESERVED) !== 0;
  }

  isAligned(index: number): boolean {
    return ((this.#flags[index] ?? 0) & UNALIGNED) === 0;
  }

  /** True when a slot names a block of which something is in the file. */
  isStored(index: number): boolean {
    const offset = this.offset(index);
    return offset !== 0 && offset < this.#fileSize && this.isReadable(index);
  }

  /** The block of a slot of the window, where another one was like it and it was kept. */
  kept(index: number): HeldBlock | undefined {
    const held = this.#held[index - this.#window.first] ?? 0;
    return held !== 0 && held === this.#repeatedNumber ? this.#repeated : undefined;
  }

  /** What the block of a slot that is stored holds. */
  use(index: number): BlockUse {
    const held = this.#held[index - this.#window.first] ?? 0;
    return held === 0 ? UNUSED : { used: this.#used[held - 1] ?? 0, last: this.#last[held - 1] ?? 0 };
  }

  /** Where `ones` has the bits of a block of the window, in bytes; NO_ONES or UNREADABLE. */
  onesAt(index: number): number {
    if (!this.isReadable(index)) return UNREADABLE;
    const held = this.#held[index - this.#window.first] ?? 0;
    return held === 0 ? NO_ONES : (held - 1) * this.#bytes;
  }

  /** As much of a window as can be held in `maxBytes`, at least a block. */
  fitting({ first, end }: BlockWindow, maxBytes: number): BlockWindow {
    let bytes = 0;
    for (const slot of this.#differing({ first, end })) {
      bytes += this.#bytes;
      if (bytes > maxBytes && slot > first) return { first, end: slot };
    }
    return { first, end };
  }

  /** Reads the blocks of a window and forgets all others. */
  async load(disk: Disk, window: BlockWindow): Promise<void> {
    const { geometry } = this;
    const slots = Math.max(0, Math.min(window.end, this.offsets.length) - window.first);
    /** At least as many as there are different ones. */
    let blocks = 0;
    for (const _ of this.#differing(window)) blocks += 1;
    this.#window = window;
    this.#held = new Uint32Array(slots);
    this.#used = new Uint32Array(blocks);
    this.#last = new Uint32Array(blocks);
    this.#repeated = undefined;
    this.#repeatedNumber = 0;
    if (this.ones.length < blocks * this.#bytes) this.ones = new Uint8Array(blocks * this.#bytes);
    else this.ones.fill(0);
    const zeros = new Uint8Array(geometry.clusterSize);
    let held = 0;
    /** The block that was held last: where a disk was written in order, one is like the other. */
    const alike = Buffer.alloc(geometry.clusterSize);
    const stored = readRefcountBlocks(disk, geometry, this.offsets, window, (slot) => this.isStored(slot));
    for await (const { slots: named, bytes } of stored) {
      if (bytes.equals(zeros)) continue;
      if (held === 0 || !bytes.equals(alike)) {
        bytes.copy(alike);
        this.#hold(held, decodeRefcountBlock(bytes, geometry));
        held += 1;
      } else if (this.#repeated === undefined) {
        const copy = Buffer.from(bytes);
        this.#repeated = { bytes: copy, refcounts: decodeRefcountBlock(copy, geometry) };
        this.#repeatedNumber = held;
      }
      for (const slot of named) this.#held[slot - window.first] = held;
    }
  }

  #hold(held: number, refcounts: RefcountArray): void {
    let used = 0;
    for (let from = 0; from < refcounts.length; from += PIECE) {
      used += this.#holdPiece(held * this.#bytes, refcounts, from);
    }
    let last = refcounts.length - 1;
    while (last >= 0 && refcounts[last] === 0) last -= 1;
    this.#used[held] = used;
    this.#last[held] = last;
  }

  /** A piece of a block whose bits begin at `at`; returns how many entries are above 0. */
  #holdPiece(at: number, refcounts: RefcountArray, from: number): number {
    const { ones } = this;
    const end = Math.min(refcounts.length, from + PIECE);
    let used = 0;
    for (let entry = from; entry < end; entry += 1) {
      const refcount = refcounts[entry] ?? 0;
      if (refcount === 0) continue;
      used += 1;
      if (refcount !== 1) continue;
      const byte = at + (entry >>> 3);
      ones[byte] = (ones[byte] ?? 0) | (1 << (entry & 7));
    }
    return used;
  }

  /** Slots that name another block than the one before: a damaged table may have a million slots for one block. */
  *#differing({ first, end }: BlockWindow): Generator<number> {
    let previous = 0;
    for (let slot = first; slot < Math.min(end, this.offsets.length); slot += 1) {
      const offset = this.offset(slot);
      if (offset === previous || !this.isStored(slot)) continue;
      previous = offset;
      yield slot;
    }
  }
}

export const isBitSet = (bits: Uint8Array, index: number): boolean =>
  (((bits[index >>> 3] ?? 0) >>> (index & 7)) & 1) === 1;

/** The first index from `from` to before `count` whose bit, counted from `first` on, is not `isSet`; `count` without any. */
export function nextOther(
  bits: Uint8Array,
  first: number,
  from: number,
  count: number,
  isSet: boolean,
): number {
  const alike = isSet ? 0xff : 0;
  for (let index = from; index < count;) {
    const bit = first + index;
    if ((bit & 7) === 0 && bits[bit >>> 3] === alike) index += 8;
    else if (isBitSet(bits, bit) !== isSet) return index;
    else index += 1;
  }
  return count;
}
