import type { Disk } from "../../disk/index.ts";
import { type Geometry, type Header, decodeRefcountBlock, tableWords } from "../../format/index.ts";
import { readClusters } from "../read-table.ts";

const WORD = 2 ** 32;
const RESERVED_LOW = 0x1ff;
/** QEMU reads nothing that ends behind this. */
const MAX_FILE_LENGTH = 2 ** 63 - 2 ** 30;

const RESERVED = 1;
const UNALIGNED = 2;

/** What a refcount block holds, in numbers. */
export interface BlockUse {
  /** Entries above 0. */
  readonly used: number;
  /** The last of them; -1 for none. */
  readonly last: number;
}
const UNUSED: BlockUse = { used: 0, last: -1 };

/** Refcounts of a block that is not there. */
const NO_BITS = new Uint8Array(0);

/**
 * The refcount table, and which refcounts are exactly 1: a bit each, all that
 * the COPIED flags need. The refcounts themselves are streamed again when they
 * are compared, so that memory does not grow with their width.
 */
export class StoredRefcounts {
  readonly geometry: Geometry;
  /**
   * Host offset of the block of each slot that lies in the file, 0 for none.
   * Above 2^53 it is not exact, and lies behind every file. Flat, because a
   * damaged header may say that there are a million slots.
   */
  readonly offsets: Float64Array;
  readonly #flags: Uint8Array;
  readonly #uses = new Map<number, BlockUse>();
  readonly #ones = new Map<number, Uint8Array>();
  readonly #fileSize: number;

  private constructor(geometry: Geometry, fileSize: number, words: Uint32Array) {
    this.geometry = geometry;
    this.#fileSize = fileSize;
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

  static async read(disk: Disk, header: Header, fileSize: number): Promise<StoredRefcounts> {
    const { geometry } = header;
    // What lies behind the end of the file reads as zeros: no blocks.
    const inFile = Math.max(0, Math.ceil((fileSize - header.refcountTableOffset) / 8) * 8);
    const bytes = Buffer.alloc(Math.min(header.refcountTableClusters * geometry.clusterSize, inFile));
    await disk.read(header.refcountTableOffset, bytes);
    const stored = new StoredRefcounts(geometry, fileSize, tableWords(bytes));
    await stored.#readOnes(disk);
    return stored;
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

  /** What the block of a slot that is stored holds. */
  use(index: number): BlockUse {
    return this.#uses.get(this.offset(index)) ?? UNUSED;
  }

  /** True when a slot names a block of which something is in the file. */
  isStored(index: number): boolean {
    const offset = this.offset(index);
    return offset !== 0 && offset < this.#fileSize && this.isReadable(index);
  }

  /** For each entry a bit that says whether its refcount is 1; undefined when that cannot be read. */
  ones(index: number): Uint8Array | undefined {
    if (!this.isReadable(index)) return undefined;
    return this.#ones.get(this.offset(index)) ?? NO_BITS;
  }

  async #readOnes(disk: Disk): Promise<void> {
    const { geometry } = this;
    // Each block once, however many slots a damaged table has for it.
    const ordered = this.offsets.filter((_, index) => this.isStored(index)).toSorted();
    const inFileOrder = ordered.filter((offset, index) => offset !== ordered[index - 1]);
    const zeros = new Uint8Array(geometry.clusterSize);
    for await (const { offset, bytes } of readClusters(disk, inFileOrder, geometry.clusterSize)) {
      if (bytes.equals(zeros)) continue;
      const refcounts = decodeRefcountBlock(bytes, geometry);
      const ones = new Uint8Array(Math.ceil(refcounts.length / 8));
      let used = 0;
      let last = -1;
      for (let entry = 0; entry < refcounts.length; entry += 1) {
        const refcount = refcounts[entry] ?? 0;
        if (refcount === 0) continue;
        used += 1;
        last = entry;
        if (refcount === 1) ones[entry >>> 3] = (ones[entry >>> 3] ?? 0) | (1 << (entry & 7));
      }
      this.#ones.set(offset, ones);
      this.#uses.set(offset, { used, last });
    }
  }
}
