import type { FileBytes } from "./file.ts";
import type { NaiveHeader } from "./header.ts";

export type Cell =
  | { readonly kind: "none" }
  | { readonly kind: "zero" }
  | { readonly kind: "host"; readonly offset: number; readonly zero: boolean }
  | { readonly kind: "compressed"; readonly offset: number; readonly length: number };

export interface L2Entry {
  readonly cell: Cell;
  readonly copied: boolean;
  /** Bits that the format reserves and that are set. */
  readonly reserved: bigint;
  /** Extended L2 only: 32 "allocated" bits below 32 "reads as zeros" bits. */
  readonly bitmap: bigint;
}

const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n;
const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;
const L1_RESERVED = 0x7f00_0000_0000_01ffn;
const L2_RESERVED = 0x3f00_0000_0000_01fen;

const EMPTY: L2Entry = { cell: { kind: "none" }, copied: false, reserved: 0n, bitmap: 0n };

export interface L1Entry {
  readonly offset: number;
  readonly copied: boolean;
  readonly reserved: bigint;
}

export function readL1Entry(file: FileBytes, l1Offset: number, index: number): L1Entry {
  const value = file.u64(l1Offset + index * 8);
  return {
    offset: Number(value & OFFSET_MASK),
    copied: (value & COPIED) !== 0n,
    reserved: value & L1_RESERVED,
  };
}

export function readL2Entry(file: FileBytes, header: NaiveHeader, l2Offset: number, index: number): L2Entry {
  const at = l2Offset + index * header.l2EntrySize;
  // Tables are mostly empty, and making BigInts for nothing is what would make this slow.
  if (file.u32(at) === 0 && file.u32(at + 4) === 0) {
    if (!header.extendedL2 || (file.u32(at + 8) === 0 && file.u32(at + 12) === 0)) return EMPTY;
  }
  const value = file.u64(at);
  const bitmap = header.extendedL2 ? file.u64(at + 8) : 0n;
  const copied = (value & COPIED) !== 0n;
  if ((value & COMPRESSED) !== 0n) {
    const sectorShift = BigInt(62 - (header.clusterBits - 8));
    const offset = Number(value & ((1n << sectorShift) - 1n));
    const sectors = Number((value & (COMPRESSED - 1n)) >> sectorShift) + 1;
    const length = sectors * 512 - (offset % 512);
    return { cell: { kind: "compressed", offset, length }, copied, reserved: 0n, bitmap };
  }
  const zeroFlag = (value & 1n) !== 0n;
  const zeroAllowed = header.version >= 3 && !header.extendedL2;
  const reserved = (value & L2_RESERVED) | (zeroFlag && !zeroAllowed ? 1n : 0n);
  const offset = Number(value & OFFSET_MASK);
  const zero = zeroFlag && zeroAllowed;
  const cell: Cell =
    offset !== 0 ? { kind: "host", offset, zero } : zero ? { kind: "zero" } : { kind: "none" };
  return { cell, copied, reserved, bitmap };
}
