import type { Geometry } from "./geometry.ts";

type RefcountWidth = Pick<Geometry, "refcountOrder">;

/**
 * Refcounts in a block: entries of 2^order bits; 8 to 64 bits big endian,
 * narrower ones packed from the least significant bit of each byte up.
 */

/** One refcount. A 64-bit value above 2^53 - 1 reads as Infinity: it can be told from others but not changed. */
export function readRefcount(block: DataView, geometry: RefcountWidth, index: number): number {
  const order = geometry.refcountOrder;
  switch (order) {
    case 3:
      return block.getUint8(index);
    case 4:
      return block.getUint16(index * 2);
    case 5:
      return block.getUint32(index * 4);
    case 6: {
      const value = block.getUint32(index * 8) * 2 ** 32 + block.getUint32(index * 8 + 4);
      return Number.isSafeInteger(value) ? value : Infinity;
    }
    default: {
      const width = 2 ** order;
      const bit = index * width;
      return (block.getUint8(bit >>> 3) >>> (bit & 7)) & (2 ** width - 1);
    }
  }
}

/** A 64-bit refcount of any size, in decimal digits. */
export function refcountDigits(block: DataView, index: number): string {
  return String(block.getBigUint64(index * 8));
}

/** Stores a refcount; `value` must be at most `geometry.refcountMax`. */
export function writeRefcount(block: DataView, geometry: RefcountWidth, index: number, value: number): void {
  const order = geometry.refcountOrder;
  switch (order) {
    case 3:
      block.setUint8(index, value);
      return;
    case 4:
      block.setUint16(index * 2, value);
      return;
    case 5:
      block.setUint32(index * 4, value);
      return;
    case 6:
      block.setUint32(index * 8, Math.floor(value / 2 ** 32));
      block.setUint32(index * 8 + 4, value % 2 ** 32);
      return;
    default: {
      const width = 2 ** order;
      const bit = index * width;
      const mask = (2 ** width - 1) << (bit & 7);
      const byte = block.getUint8(bit >>> 3);
      block.setUint8(bit >>> 3, (byte & ~mask) | (value << (bit & 7)));
    }
  }
}

/** Stores the same refcount in `count` entries from `first` on; `value` must be at most `geometry.refcountMax`. */
export function fillRefcounts(
  block: DataView,
  geometry: RefcountWidth,
  first: number,
  count: number,
  value: number,
): void {
  const entryBytes = 2 ** geometry.refcountOrder / 8;
  if (entryBytes < 1 || count < 2) {
    for (let entry = first; entry < first + count; entry += 1) writeRefcount(block, geometry, entry, value);
    return;
  }
  writeRefcount(block, geometry, first, value);
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  const start = first * entryBytes;
  const pattern = Buffer.from(bytes.subarray(start, start + entryBytes));
  bytes.fill(pattern, start, start + count * entryBytes);
}

/** Whether stored refcounts of a byte or more are all the same, from `first` on: each is compared with its neighbour, by a machine that is faster than a loop. */
export function areAlike(
  block: Buffer,
  { refcountOrder }: RefcountWidth,
  first: number,
  count: number,
): boolean {
  if (refcountOrder < 3) return count === 1;
  const size = 2 ** (refcountOrder - 3);
  const [start, last] = [first * size, (first + count - 1) * size];
  return count < 2 || block.compare(block, start + size, last + size, start, last) === 0;
}

/** The refcounts of one block in host order, a number each. */
export type RefcountArray = Uint8Array | Uint16Array | Uint32Array | Float64Array;

/** Decodes a whole block; widths that a typed array has are swapped in place, and `block` must not be used afterwards. */
export function decodeRefcountBlock(block: Buffer, geometry: RefcountWidth): RefcountArray {
  const { buffer, byteOffset, length } = block;
  switch (geometry.refcountOrder) {
    case 3:
      return block;
    case 4:
      block.swap16();
      return new Uint16Array(buffer, byteOffset, length / 2);
    case 5:
      block.swap32();
      return new Uint32Array(buffer, byteOffset, length / 4);
    default: {
      const entries = (length * 8) / 2 ** geometry.refcountOrder;
      const result = geometry.refcountOrder === 6 ? new Float64Array(entries) : new Uint8Array(entries);
      const view = new DataView(buffer, byteOffset, length);
      for (let entry = 0; entry < entries; entry += 1) result[entry] = readRefcount(view, geometry, entry);
      return result;
    }
  }
}

/** Byte range [start, end) of a block that holds entries `first` to `last`. */
export function refcountByteRange(
  geometry: RefcountWidth,
  first: number,
  last: number,
): { readonly start: number; readonly end: number } {
  const bits = 2 ** geometry.refcountOrder;
  return { start: Math.floor((first * bits) / 8), end: Math.ceil(((last + 1) * bits) / 8) };
}
