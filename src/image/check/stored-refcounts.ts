import type { Disk } from "../../disk/index.ts";
import { type Geometry, type Header, readRefcount, tableWords } from "../../format/index.ts";
import { readClusters } from "../read-table.ts";

const WORD = 2 ** 32;
const RESERVED_LOW = 0x1ff;
/** QEMU reads nothing that ends behind this. */
const MAX_FILE_LENGTH = 2 ** 63 - 2 ** 30;

/** A slot of the refcount table that may say anything. */
export interface Slot {
  /** Host offset of the refcount block, 0 for none. Above 2^53 it is not exact, and lies behind every file. */
  readonly offset: number;
  readonly reserved: boolean;
  readonly aligned: boolean;
}

/** Refcounts of a block that is not there. */
const NO_BITS = new Uint8Array(0);

/**
 * The refcount table, and which refcounts are exactly 1: a bit each, all that
 * the COPIED flags need. The refcounts themselves are streamed again when they
 * are compared, so that memory does not grow with their width.
 */
export class StoredRefcounts {
  readonly geometry: Geometry;
  readonly slots: readonly Slot[];
  /** Entries above 0 by the offset of their block. */
  readonly used = new Map<number, number>();
  readonly #ones = new Map<number, Uint8Array>();
  readonly #fileSize: number;

  private constructor(geometry: Geometry, fileSize: number, slots: readonly Slot[]) {
    this.geometry = geometry;
    this.#fileSize = fileSize;
    this.slots = slots;
  }

  static async read(disk: Disk, header: Header, fileSize: number): Promise<StoredRefcounts> {
    const { geometry } = header;
    const bytes = Buffer.alloc(header.refcountTableClusters * geometry.clusterSize);
    await disk.read(header.refcountTableOffset, bytes);
    const stored = new StoredRefcounts(geometry, fileSize, slotsOf(geometry, tableWords(bytes)));
    await stored.#readOnes(disk);
    return stored;
  }

  /** False for a block that QEMU cannot read either: its refcounts are unknown. */
  isReadable(index: number): boolean {
    const slot = this.slots[index];
    if (slot === undefined || slot.offset === 0) return true;
    return slot.aligned && slot.offset + this.geometry.clusterSize <= MAX_FILE_LENGTH;
  }

  /** True when a slot names a block of which something is in the file. */
  isStored(index: number): boolean {
    const offset = this.slots[index]?.offset ?? 0;
    return offset !== 0 && offset < this.#fileSize && this.isReadable(index);
  }

  /** For each entry a bit that says whether its refcount is 1; undefined when that cannot be read. */
  ones(index: number): Uint8Array | undefined {
    if (!this.isReadable(index)) return undefined;
    return this.#ones.get(this.slots[index]?.offset ?? 0) ?? NO_BITS;
  }

  async #readOnes(disk: Disk): Promise<void> {
    const { geometry } = this;
    // Each block once, however many slots a damaged table has for it.
    const offsets = new Set<number>();
    for (const [index, slot] of this.slots.entries()) if (this.isStored(index)) offsets.add(slot.offset);
    const inFileOrder = [...offsets].toSorted((a, b) => a - b);
    for await (const { offset, bytes } of readClusters(disk, inFileOrder, geometry.clusterSize)) {
      const block = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const ones = new Uint8Array(Math.ceil(geometry.refcountEntries / 8));
      let used = 0;
      for (let entry = 0; entry < geometry.refcountEntries; entry += 1) {
        const refcount = readRefcount(block, geometry, entry);
        if (refcount === 0) continue;
        used += 1;
        if (refcount === 1) ones[entry >>> 3] = (ones[entry >>> 3] ?? 0) | (1 << (entry & 7));
      }
      this.#ones.set(offset, ones);
      this.used.set(offset, used);
    }
  }
}

function slotsOf(geometry: Geometry, words: Uint32Array): Slot[] {
  const slots: Slot[] = [];
  for (let at = 0; at < words.length; at += 2) {
    const low = words[at + 1] ?? 0;
    const offsetLow = (low & ~RESERVED_LOW) >>> 0;
    slots.push({
      offset: (words[at] ?? 0) * WORD + offsetLow,
      reserved: (low & RESERVED_LOW) !== 0,
      aligned: offsetLow % geometry.clusterSize === 0,
    });
  }
  return slots;
}
