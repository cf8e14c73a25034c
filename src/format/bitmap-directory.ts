import { QcowalError } from "../errors/index.ts";
import { EXTENSION, type ExtensionArea } from "./extensions.ts";
import { layout, readField, readField64 } from "./layout.ts";
import { type HostOffset, hostOffset, u64ToNumber } from "./units.ts";

/** A range of the file that an extension or a directory entry names. */
export interface HostSpan {
  readonly offset: HostOffset;
  /** Bytes. */
  readonly length: number;
}

const BITMAPS = layout(24, [
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
  if (data.length !== 24) throw invalid("Bitmaps extension has a wrong length");
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

/** The table of each bitmap. `bytes` holds the whole directory. */
export function decodeBitmapDirectory(bytes: Uint8Array, count: number): readonly HostSpan[] {
  const tables: HostSpan[] = [];
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    if (at + ENTRY_BYTES > bytes.length) throw invalid(`Bitmap directory ends before entry ${index}`);
    const entries = readField(bytes, ENTRY.tableEntries, at);
    tables.push(span(readField64(bytes, ENTRY.tableOffset, at), entries * 8, `Table of bitmap ${index}`));
    const length = ENTRY_BYTES + readField(bytes, ENTRY.extraSize, at) + readField(bytes, ENTRY.nameSize, at);
    at += Math.ceil(length / 8) * 8;
  }
  return tables;
}
