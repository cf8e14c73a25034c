import type { Disk } from "../disk/index.ts";
import { QcowalError } from "../errors/index.ts";
import { type Geometry, MAX_L1_ENTRIES, isCopied, l1Target, tableWords } from "../format/index.ts";

/** Where an L1 table is stored. */
export interface L1Location {
  readonly offset: number;
  /** Number of 8-byte entries. */
  readonly entries: number;
}

export interface L1Table extends L1Location {
  /** Host offset of each L2 table, 0 where there is none. */
  readonly targets: Float64Array;
  /** 1 where the entry's COPIED flag is set. Means nothing in the table of a snapshot. */
  readonly copied: Uint8Array;
}

/**
 * Checks a location that comes from disk before anything is allocated from it.
 * @throws QcowalError IMAGE_INVALID
 */
export function checkL1Location(
  geometry: Geometry,
  offset: bigint,
  entries: number,
  owner: string,
): L1Location {
  if (entries > MAX_L1_ENTRIES) throw invalid(`${owner}: L1 table too large (${entries} entries)`);
  if (
    offset > BigInt(Number.MAX_SAFE_INTEGER - entries * 8) ||
    offset % BigInt(geometry.clusterSize) !== 0n
  ) {
    throw invalid(`${owner}: L1 table offset invalid (0x${offset.toString(16)})`);
  }
  return { offset: Number(offset), entries };
}

/**
 * Reads an L1 table.
 * @throws QcowalError IMAGE_INVALID for reserved bits or unaligned L2 tables
 */
export async function readL1Table(disk: Disk, geometry: Geometry, location: L1Location): Promise<L1Table> {
  const bytes = Buffer.alloc(location.entries * 8);
  await disk.read(location.offset, bytes);
  return decodeL1Table(geometry, location, bytes);
}

/** The same of bytes that were read, which it may change. @throws QcowalError IMAGE_INVALID */
export function decodeL1Table(geometry: Geometry, location: L1Location, bytes: Buffer): L1Table {
  const words = tableWords(bytes);
  const targets = new Float64Array(location.entries);
  const copied = new Uint8Array(location.entries);
  for (let index = 0; index < location.entries; index += 1) {
    const high = words[index * 2] ?? 0;
    const low = words[index * 2 + 1] ?? 0;
    // A sparse file may have tens of millions of them.
    if ((high | low) === 0) continue;
    const target = l1Target(geometry, high, low);
    if (target < 0) throw invalid(`L1 table at 0x${location.offset.toString(16)}: entry ${index} is invalid`);
    targets[index] = target;
    copied[index] = isCopied(high) ? 1 : 0;
  }
  return { ...location, targets, copied };
}

function invalid(what: string): QcowalError {
  return new QcowalError("IMAGE_INVALID", `${what}. Nothing was changed; 'qcowal check' says more.`);
}
