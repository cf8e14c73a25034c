import type { FileBytes } from "./file.ts";

/** The bytes cannot be read as a qcow2 image at all. */
export class NaiveError extends Error {
  override readonly name = "NaiveError";
}

export interface NaiveOptions {
  /** Look behind the fence: incompatible bit 62, or the high bit of the version field of a version 2 image. */
  readonly ignoreFence?: boolean;
}

export interface HeaderExtension {
  readonly type: number;
  readonly offset: number;
  readonly length: number;
  readonly hex: string;
}

export interface NaiveHeader {
  readonly version: number;
  readonly fenced: boolean;
  readonly clusterBits: number;
  readonly clusterSize: number;
  readonly virtualSize: number;
  readonly cryptMethod: number;
  readonly l1Size: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly snapshotCount: number;
  readonly snapshotsOffset: number;
  readonly incompatible: bigint;
  readonly compatible: bigint;
  readonly autoclear: bigint;
  readonly refcountOrder: number;
  readonly headerLength: number;
  readonly compressionType: number;
  readonly extendedL2: boolean;
  readonly backingName: string | null;
  readonly extensions: readonly HeaderExtension[];
  /** Header bytes behind the last field that the format defines. */
  readonly unknownHeaderHex: string;
  readonly l2EntrySize: number;
  readonly l2Entries: number;
}

const FENCE_V3 = 1n << 62n;
const FENCE_V2 = 0x8000_0000;
/** Dirty, corrupt, external data file, compression type, extended L2. */
const KNOWN_INCOMPATIBLE = 0x1fn;

export function parseHeader(file: FileBytes, options: NaiveOptions = {}): NaiveHeader {
  if (file.u32(0) !== 0x514649fb) throw new NaiveError("no qcow2 magic");
  const versionField = file.u32(4);
  const version = versionField % FENCE_V2;
  const v2Fence = versionField >= FENCE_V2;
  if (version !== 2 && version !== 3) throw new NaiveError(`version ${versionField}`);
  const v3 = version === 3;
  const rawIncompatible = v3 ? file.u64(72) : 0n;
  const fenced = v2Fence || (rawIncompatible & FENCE_V3) !== 0n;
  if (fenced && options.ignoreFence !== true) throw new NaiveError("the image is fenced");
  const incompatible = rawIncompatible & ~FENCE_V3;
  if ((incompatible & ~KNOWN_INCOMPATIBLE) !== 0n) {
    throw new NaiveError(`unknown incompatible features ${incompatible.toString(16)}`);
  }
  const clusterBits = file.u32(20);
  if (clusterBits < 9 || clusterBits > 21) throw new NaiveError(`cluster bits ${clusterBits}`);
  const clusterSize = 2 ** clusterBits;
  const headerLength = v3 ? file.u32(100) : 72;
  if (headerLength > clusterSize || (v3 && headerLength < 104)) {
    throw new NaiveError(`header length ${headerLength}`);
  }
  const refcountOrder = v3 ? file.u32(96) : 4;
  if (refcountOrder > 6) throw new NaiveError(`refcount order ${refcountOrder}`);
  const compressionType = headerLength > 104 ? file.u8(104) : 0;
  if ((compressionType !== 0) !== ((incompatible & 8n) !== 0n)) {
    throw new NaiveError("compression type and its feature bit disagree");
  }
  const extendedL2 = (incompatible & 16n) !== 0n;
  if (extendedL2 && clusterBits < 14) throw new NaiveError("extended L2 entries need clusters of 16 KiB");
  const backingOffset = file.number64(8);
  const backingLength = file.u32(16);
  const isOutside = backingLength > 1023 || backingOffset + backingLength > clusterSize;
  if (backingOffset > clusterSize || (backingOffset !== 0 && isOutside)) {
    throw new NaiveError("backing file name out of bounds");
  }
  const l2EntrySize = extendedL2 ? 16 : 8;
  return {
    version,
    fenced,
    clusterBits,
    clusterSize,
    virtualSize: file.number64(24),
    cryptMethod: file.u32(32),
    l1Size: file.u32(36),
    l1Offset: file.number64(40),
    refcountTableOffset: file.number64(48),
    refcountTableClusters: file.u32(56),
    snapshotCount: file.u32(60),
    snapshotsOffset: file.number64(64),
    incompatible,
    compatible: v3 ? file.u64(80) : 0n,
    autoclear: v3 ? file.u64(88) : 0n,
    refcountOrder,
    headerLength,
    compressionType,
    extendedL2,
    backingName: backingOffset === 0 ? null : file.text(backingOffset, backingLength),
    extensions: parseExtensions(file, headerLength, backingOffset === 0 ? clusterSize : backingOffset),
    unknownHeaderHex: headerLength > 112 ? file.hex(112, headerLength - 112) : "",
    l2EntrySize,
    l2Entries: clusterSize / l2EntrySize,
  };
}

function parseExtensions(file: FileBytes, start: number, end: number): HeaderExtension[] {
  const result: HeaderExtension[] = [];
  for (let at = start; at + 8 <= end;) {
    const type = file.u32(at);
    const length = file.u32(at + 4);
    if (type === 0) break;
    if (at + 8 + length > end) throw new NaiveError("header extension too large");
    result.push({ type, offset: at + 8, length, hex: file.hex(at + 8, length) });
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return result;
}
