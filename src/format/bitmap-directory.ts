import { QcowalError } from "../errors/index.ts";
import { BITMAPS_BYTES, EXTENSION, type ExtensionArea } from "./extensions.ts";
import { type Geometry, clustersFor } from "./geometry.ts";
import { layout, readField, readField64 } from "./layout.ts";
import { type HostOffset, SECTOR_SIZE, hostOffset, u64ToNumber } from "./units.ts";

/** A range of the file that an extension or a directory entry names. */
export interface HostSpan {
  readonly offset: HostOffset;
  /** Bytes. */
  readonly length: number;
}

const BITMAPS = layout(BITMAPS_BYTES, [
  ["count", 4],
  ["reserved", 4],
  ["directorySize", 8],
  ["directoryOffset", 8],
]);

const CRYPTO = layout(16, [
  ["offset", 8],
  ["length", 8],
]);

/** Fixed part of a directory entry; extra data and name follow, then padding to 8. */
const ENTRY = layout(24, [
  ["tableOffset", 8],
  ["tableEntries", 4],
  ["flags", 4],
  ["type", 1],
  ["granularityBits", 1],
  ["nameSize", 2],
  ["extraSize", 4],
]);
const ENTRY_BYTES = 24;

/** QEMU's limits: so many bitmaps, 1 KiB of directory for each. */
const MAX_BITMAPS = 65_535;
const MAX_DIRECTORY_BYTES = 1024 * MAX_BITMAPS;

/** What QEMU asks of a bitmap before it opens the image. */
const FLAG_IN_USE = 1;
const KNOWN_FLAGS = 3;
const TYPE_DIRTY_TRACKING = 1;
const GRANULARITY_BITS = { min: 9, max: 31 };
const MAX_NAME_BYTES = 1023;
const MAX_BITMAP_BYTES = 512 * 1024 * 1024;

const invalid = (what: string): QcowalError =>
  new QcowalError("IMAGE_INVALID", `${what}. Nothing was changed.`);

function span(rawOffset: bigint, length: number | undefined, what: string): HostSpan {
  const offset = u64ToNumber(rawOffset);
  if (offset === undefined || length === undefined || !Number.isSafeInteger(offset + length)) {
    throw invalid(`${what} lies out of range`);
  }
  return { offset: hostOffset(offset), length };
}

export interface BitmapDirectory extends HostSpan {
  /** Entries of the directory. */
  readonly count: number;
}

/** Where the bitmap directory is, or undefined in an image without bitmaps. */
export function bitmapDirectory(area: ExtensionArea): BitmapDirectory | undefined {
  const extension = area.extensions.find(({ type }) => type === EXTENSION.bitmaps);
  if (extension === undefined) return undefined;
  const { data } = extension;
  const count = readField(data, BITMAPS.count);
  const size = u64ToNumber(readField64(data, BITMAPS.directorySize));
  if (count > MAX_BITMAPS || (size ?? Infinity) > MAX_DIRECTORY_BYTES) {
    throw invalid("Bitmap directory is too large");
  }
  return { ...span(readField64(data, BITMAPS.directoryOffset), size, "Bitmap directory"), count };
}

/** Where the LUKS header is, or undefined in an image without one. */
export function cryptoHeader(area: ExtensionArea): HostSpan | undefined {
  const extension = area.extensions.find(({ type }) => type === EXTENSION.crypto);
  if (extension === undefined) return undefined;
  const { data } = extension;
  if (data.length !== 16) throw invalid("Encryption header extension has a wrong length");
  const length = u64ToNumber(readField64(data, CRYPTO.length));
  return span(readField64(data, CRYPTO.offset), length, "Encryption header");
}

/** An entry of the directory: the bitmap's name and where its table is. */
export interface BitmapEntry extends HostSpan {
  readonly name: string;
}

/** The entry of each bitmap. `bytes` holds the whole directory. */
export function decodeBitmapDirectory(bytes: Uint8Array, count: number): readonly BitmapEntry[] {
  const bitmaps: BitmapEntry[] = [];
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    if (at + ENTRY_BYTES > bytes.length) throw invalid(`Bitmap directory ends before entry ${index}`);
    const entries = readField(bytes, ENTRY.tableEntries, at);
    const table = span(readField64(bytes, ENTRY.tableOffset, at), entries * 8, `Table of bitmap ${index}`);
    const nameOffset = at + ENTRY_BYTES + readField(bytes, ENTRY.extraSize, at);
    const end = nameOffset + readField(bytes, ENTRY.nameSize, at);
    bitmaps.push({ ...table, name: new TextDecoder().decode(bytes.subarray(nameOffset, end)) });
    at = Math.ceil(end / 8) * 8;
  }
  return bitmaps;
}

/** What QEMU objects to in the bitmaps extension; it does not open such an image. */
export function bitmapExtensionProblem(area: ExtensionArea, { clusterSize }: Geometry): string | undefined {
  const data = area.extensions.find(({ type }) => type === EXTENSION.bitmaps)?.data;
  if (data === undefined) return undefined;
  if (readField(data, BITMAPS.count) === 0) return "it names no bitmap";
  if (readField(data, BITMAPS.reserved) !== 0) return "its reserved field is not zero";
  if (readField64(data, BITMAPS.directoryOffset) % BigInt(clusterSize) !== 0n) {
    return "the bitmap directory is not cluster aligned";
  }
  return readField64(data, BITMAPS.directorySize) === 0n ? "the bitmap directory is empty" : undefined;
}

/** What QEMU objects to in a bitmap directory; it does not open such an image. `bytes` holds the whole of it. */
export function bitmapDirectoryProblem(
  bytes: Uint8Array,
  count: number,
  geometry: Geometry,
  diskSize: number,
): string | undefined {
  let at = 0;
  let found = 0;
  while (at < bytes.length) {
    if (at + ENTRY_BYTES > bytes.length) return `it ends inside entry ${found}`;
    if (found === count) return `it has more than the ${count} bitmaps that the header says`;
    const nameSize = readField(bytes, ENTRY.nameSize, at);
    const end = at + Math.ceil((ENTRY_BYTES + nameSize + readField(bytes, ENTRY.extraSize, at)) / 8) * 8;
    if (end > bytes.length) return `it ends inside entry ${found}`;
    const problem = entryProblem(bytes, at, geometry, diskSize);
    if (problem !== undefined) return `entry ${found}: ${problem}`;
    at = end;
    found += 1;
  }
  return found < count ? `it has fewer than the ${count} bitmaps that the header says` : undefined;
}

function entryProblem(
  bytes: Uint8Array,
  at: number,
  geometry: Geometry,
  diskSize: number,
): string | undefined {
  const { clusterSize } = geometry;
  const tableOffset = readField64(bytes, ENTRY.tableOffset, at);
  const entries = readField(bytes, ENTRY.tableEntries, at);
  const flags = readField(bytes, ENTRY.flags, at);
  const granularityBits = readField(bytes, ENTRY.granularityBits, at);
  const nameSize = readField(bytes, ENTRY.nameSize, at);
  if (readField(bytes, ENTRY.extraSize, at) !== 0) return "extra data is not known";
  if (tableOffset === 0n || tableOffset % BigInt(clusterSize) !== 0n) return "the table's offset is invalid";
  if (entries === 0 || entries * clusterSize > MAX_BITMAP_BYTES) return `a table of ${entries} entries`;
  if (granularityBits < GRANULARITY_BITS.min || granularityBits > GRANULARITY_BITS.max) {
    return `granularity 2^${granularityBits}`;
  }
  if ((flags & ~KNOWN_FLAGS) !== 0) return "unknown flags";
  if (nameSize === 0 || nameSize > MAX_NAME_BYTES) return `a name of ${nameSize} bytes`;
  if (readField(bytes, ENTRY.type, at) !== TYPE_DIRTY_TRACKING) return "unknown type";
  if ((flags & FLAG_IN_USE) !== 0) return undefined;
  // One that is in use is not loaded, so its size does not matter. QEMU's disk ends with its last whole sector.
  const seen = Math.floor(diskSize / SECTOR_SIZE) * SECTOR_SIZE;
  const words = Math.ceil(Math.ceil(seen / 2 ** granularityBits) / 64);
  return entries === clustersFor(geometry, words * 8) ? undefined : "the table does not fit the disk";
}
