/**
 * L1 and L2 entries. A table in memory is a Uint32Array of (high, low) word
 * pairs in host order: 64-bit entries without a BigInt each. Nobody outside
 * this file sees a mask.
 *
 * L1 entry:  bits 0-8 reserved, 9-55 offset of the L2 table, 56-62 reserved, 63 COPIED.
 * L2 entry, standard: bit 0 reads as zeros (version 3, 8-byte entries only),
 *   1-8 reserved, 9-55 offset of the cluster, 56-61 reserved, 62 = 0, 63 COPIED.
 * L2 entry, compressed (bit 62 = 1), with x = 62 - (cluster bits - 8): bits
 *   0..x-1 byte offset in the file, x..61 additional 512-byte sectors.
 * Extended L2 entries add 8 bytes of subcluster bitmaps behind each, which say
 * nothing about references.
 */
import type { Geometry } from "./geometry.ts";

const COPIED_HIGH = 0x8000_0000;
const COMPRESSED_HIGH = 0x4000_0000;
const OFFSET_HIGH = 0x00ff_ffff;
const OFFSET_LOW = 0xffff_fe00;
const L1_RESERVED_HIGH = 0x7f00_0000;
const L1_RESERVED_LOW = 0x0000_01ff;
const L2_RESERVED_HIGH = 0x3f00_0000;
const L2_RESERVED_LOW = 0x0000_01fe;
const ZERO_LOW = 0x0000_0001;
const WORD = 2 ** 32;
const SECTOR = 512;

/** Turns big endian table bytes into words in place and returns a view of them. `bytes` must be 4-aligned in its buffer. */
export function tableWords(bytes: Buffer): Uint32Array {
  bytes.swap32();
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

export function isCopied(high: number): boolean {
  return (high & COPIED_HIGH) !== 0;
}

/** Byte of a big endian entry that holds the COPIED flag, and the flag in it. */
export const COPIED_BYTE = 0;
export const COPIED_BYTE_MASK = 0x80;

/** Offset in an L1 entry or a standard L2 entry, whatever else is set. A multiple of 512, so exact up to its 56 bits. */
export function entryOffset(high: number, low: number): number {
  return (high & OFFSET_HIGH) * WORD + ((low & OFFSET_LOW) >>> 0);
}

export function hasReservedL1Bits(high: number, low: number): boolean {
  return ((high & L1_RESERVED_HIGH) | (low & L1_RESERVED_LOW)) !== 0;
}

/** What an L1 entry says: 0 for none, the L2 table's offset, or -1 when reserved bits are set or it is not aligned. */
export function l1Target(geometry: Geometry, high: number, low: number): number {
  if (hasReservedL1Bits(high, low)) return -1;
  const offset = entryOffset(high, low);
  return offset % geometry.clusterSize === 0 && Number.isSafeInteger(offset) ? offset : -1;
}

/** Writes an L1 entry, or an L2 entry of plain data, in big endian order. */
export function writeL1Entry(bytes: DataView, index: number, l2Offset: number, copied: boolean): void {
  bytes.setUint32(index * 8, Math.floor(l2Offset / WORD) + (copied ? COPIED_HIGH : 0));
  bytes.setUint32(index * 8 + 4, l2Offset % WORD);
}

/** Writes the entry of a compressed cluster in big endian order: it owns no cluster, so it is never COPIED. */
export function writeCompressedEntry(
  { clusterBits }: Geometry,
  bytes: DataView,
  index: number,
  offset: number,
  length: number,
): void {
  const more = Math.floor((offset + length - 1) / SECTOR) - Math.floor(offset / SECTOR);
  const high = COMPRESSED_HIGH + more * 2 ** (offsetBits(clusterBits) - 32) + Math.floor(offset / WORD);
  bytes.setUint32(index * 8, high);
  bytes.setUint32(index * 8 + 4, offset % WORD);
}

/** Bits of a compressed entry that say where its stream begins. */
const offsetBits = (clusterBits: number): number => 62 - (clusterBits - 8);

/** References of an L2 entry are host clusters `first` to `last`; see `decodeL2Entry`. */
export interface L2Reference {
  kind: "none" | "standard" | "compressed" | "invalid";
  first: number;
  last: number;
}

/**
 * Decodes which host clusters an L2 entry refers to into `out`, which is reused
 * so that a pass over millions of entries allocates nothing. Zero clusters with
 * a host offset own their cluster like data does. A compressed entry refers to
 * every cluster its sectors touch: up to three.
 */
export function decodeL2Entry(geometry: Geometry, high: number, low: number, out: L2Reference): void {
  if ((high & COMPRESSED_HIGH) !== 0) {
    decodeCompressed(geometry, high, low, out);
    return;
  }
  const zeroAllowed = geometry.version === 3 && !geometry.extendedL2;
  if (
    (high & L2_RESERVED_HIGH) !== 0 ||
    (low & (zeroAllowed ? L2_RESERVED_LOW : L2_RESERVED_LOW | ZERO_LOW)) !== 0
  ) {
    out.kind = "invalid";
    return;
  }
  const offset = entryOffset(high, low);
  if (offset === 0) {
    out.kind = "none";
    return;
  }
  if (offset % geometry.clusterSize !== 0 || !Number.isSafeInteger(offset)) {
    out.kind = "invalid";
    return;
  }
  out.kind = "standard";
  out.first = offset / geometry.clusterSize;
  out.last = out.first;
}

/**
 * The host cluster of the most common kind of L2 entry, which a pass over
 * millions of them decides without `decodeL2Entry`: standard, aligned, nothing
 * reserved, not flagged as zeros, and below 2^31. 0 or less for all others.
 */
export function plainCluster(clusterBits: number, high: number, low: number): number {
  const top = high & OFFSET_HIGH;
  if (
    (high & (COMPRESSED_HIGH | L2_RESERVED_HIGH)) !== 0 ||
    top >>> (clusterBits - 1) !== 0 ||
    (low & ((1 << clusterBits) - 1)) !== 0
  ) {
    return -1;
  }
  return (top << (32 - clusterBits)) | (low >>> clusterBits);
}

/**
 * How many entries from word `at` on refer to one host cluster behind the other
 * and are else like the first, which `plainCluster` knows: then it knows them
 * all. At most `most`, which may be cut by the end of the table.
 */
export function plainRun(
  words: Uint32Array,
  at: number,
  step: number,
  clusterSize: number,
  most: number,
): number {
  const high = words[at];
  const end = Math.min(at + most * step, words.length);
  let low = words[at + 1] ?? 0;
  let next = at + step;
  // Past 2^32 no word is equal: the run ends there.
  for (; next < end; next += step) {
    low += clusterSize;
    if (words[next + 1] !== low || words[next] !== high) break;
  }
  return (next - at) / step;
}

function decodeCompressed(geometry: Geometry, high: number, low: number, out: L2Reference): void {
  const offset = compressedOffset(geometry, high, low);
  const end = offset + compressedLength(geometry, high, low);
  if (!Number.isSafeInteger(end)) {
    out.kind = "invalid";
    return;
  }
  out.kind = "compressed";
  out.first = Math.floor(offset / geometry.clusterSize);
  out.last = Math.floor((end - 1) / geometry.clusterSize);
}

export function isCompressed(high: number): boolean {
  return (high & COMPRESSED_HIGH) !== 0;
}

/** Where a compressed stream begins. Above 2^53, where no file reaches, it is not exact. */
export function compressedOffset({ clusterBits }: Geometry, high: number, low: number): number {
  const offsetBitsInHigh = offsetBits(clusterBits) - 32;
  return ((high & 0x3fff_ffff) % 2 ** offsetBitsInHigh) * WORD + (low >>> 0);
}

/** Bytes of a compressed stream: whole sectors, less what lies before it in the first. */
export function compressedLength({ clusterBits }: Geometry, high: number, low: number): number {
  const offsetBitsInHigh = offsetBits(clusterBits) - 32;
  const sectors = (high & 0x3fff_ffff) >>> offsetBitsInHigh;
  return (sectors + 1) * SECTOR - ((low >>> 0) % SECTOR);
}

/** Reserved bits of a standard L2 entry. Bit 0 is none here: every qemu reads it as "zeros", in version 2 too. */
export function hasReservedL2Bits(high: number, low: number): boolean {
  return ((high & L2_RESERVED_HIGH) | (low & L2_RESERVED_LOW)) !== 0;
}

/**
 * An entry that reads as zeros and keeps a cluster at an odd place for later.
 * What the guest sees is known all the same. Version 3 only: in version 2 the
 * flag is a reserved bit, and what was meant by it nobody knows.
 */
export function isUnalignedZero(geometry: Geometry, high: number, low: number): boolean {
  return (
    geometry.version === 3 &&
    !isCompressed(high) &&
    isZeroFlagged(geometry, low) &&
    !hasReservedL2Bits(high, low) &&
    entryOffset(high, low) % geometry.clusterSize !== 0
  );
}

/** Why a standard L2 entry refers to nothing that makes sense, in words; undefined when it does. */
export function l2EntryProblem(geometry: Geometry, high: number, low: number): string | undefined {
  if (isCompressed(high)) return undefined;
  if (hasReservedL2Bits(high, low)) return "reserved bits are set";
  if ((low & ZERO_LOW) !== 0 && geometry.extendedL2) return "bit 0 is set, which is reserved here";
  if ((low & ZERO_LOW) !== 0 && geometry.version === 2) {
    return "it has the zero flag, which version 2 does not know: qemu gives the guest an I/O error there. If zeros are meant, 'qemu-img amend -o compat=1.1' makes them so";
  }
  const offset = entryOffset(high, low);
  return offset % geometry.clusterSize === 0
    ? undefined
    : `its cluster at 0x${offset.toString(16)} is not aligned`;
}

/** An entry that reads as zeros and keeps no cluster, in big endian order. */
export const PLAIN_ZERO_ENTRY: Uint8Array = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, ZERO_LOW);

export function isZeroFlagged(geometry: Geometry, low: number): boolean {
  return !geometry.extendedL2 && (low & ZERO_LOW) !== 0;
}

const BITMAP_RESERVED_HIGH = 0xff00_0000;
const BITMAP_RESERVED_LOW = 0x1fe;
const ALL_ONES_LOW = 1;

/** Whether an entry of a bitmap's table is what it may be: a cluster's offset, or a flag in bit 0 and no cluster. */
export function isBitmapEntry(geometry: Geometry, high: number, low: number): boolean {
  if (((high & BITMAP_RESERVED_HIGH) | (low & BITMAP_RESERVED_LOW)) !== 0) return false;
  const offset = entryOffset(high, low);
  return offset === 0 || ((low & ALL_ONES_LOW) === 0 && offset % geometry.clusterSize === 0);
}
