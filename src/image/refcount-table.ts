import { type Disk, giveSpare, takeSpare } from "../disk/index.ts";
import { QcowalError } from "../errors/index.ts";
import { type Geometry, type Header, hostOffset } from "../format/index.ts";

/** Where the refcounts of an image are stored. */
export interface RefcountTable {
  readonly geometry: Geometry;
  /** Where the refcount table is stored. */
  readonly tableOffset: number;
  /** Host offset of each refcount block by table slot, 0 where there is none. */
  readonly table: Float64Array;
}

/** Told of a slot that cannot be believed. */
export type OnDamagedSlot = (slot: number, what: string) => void;

/**
 * Reads the refcount table.
 * @throws QcowalError IMAGE_INVALID for a slot that is not aligned, lies behind
 * the end of the file or names a block twice. With `onDamage`, such a slot is
 * told instead, and reads as if it were empty.
 */
export async function readRefcountTable(
  disk: Disk,
  header: Header,
  fileSize: number,
  onDamage: OnDamagedSlot = (_, what) => {
    throw invalid(disk, what);
  },
): Promise<RefcountTable> {
  const table = await readSlots(disk, header, fileSize, onDamage);
  for (const slot of repeatedSlots(table)) {
    onDamage(slot, `two slots of the refcount table name the block at ${hex(table[slot] ?? 0)}`);
    table[slot] = 0;
  }
  return { geometry: header.geometry, tableOffset: header.refcountTableOffset, table };
}

/** How many of these slots have a block. A table has thousands that have none: loops over it call nothing back. */
export function storedIn(table: Float64Array): number {
  let stored = 0;
  for (let slot = 0; slot < table.length; slot += 1) if (table[slot] !== 0) stored += 1;
  return stored;
}

/** Slots that name a block which one before them names. */
function repeatedSlots(table: Float64Array): number[] {
  // A million slots that are all different are told by a sort, in a tenth of the memory that a set of them takes.
  const sorted = new Float64Array(storedIn(table));
  for (let slot = 0, next = 0; slot < table.length; slot += 1) {
    const offset = table[slot] ?? 0;
    if (offset !== 0) sorted[next++] = offset;
  }
  sorted.sort();
  if (!sorted.some((offset, index) => offset === sorted[index - 1])) return [];
  const named = new Set<number>();
  const repeated: number[] = [];
  for (const [slot, offset] of table.entries()) {
    if (offset === 0) continue;
    if (named.has(offset)) repeated.push(slot);
    named.add(offset);
  }
  return repeated;
}

async function readSlots(
  disk: Disk,
  header: Header,
  fileSize: number,
  onDamage: OnDamagedSlot,
): Promise<Float64Array> {
  const { clusterSize } = header.geometry;
  const bytes = takeSpare(header.refcountTableClusters * clusterSize);
  await disk.read(header.refcountTableOffset, bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const table = new Float64Array(bytes.length / 8);
  for (let index = 0; index < table.length; index += 1) {
    if (view.getUint32(index * 8) === 0 && view.getUint32(index * 8 + 4) === 0) continue;
    const raw = view.getBigUint64(index * 8);
    if (raw % BigInt(clusterSize) !== 0n) {
      onDamage(index, `refcount table slot ${index} is not aligned (0x${raw.toString(16)})`);
    } else if (raw >= BigInt(fileSize)) {
      onDamage(index, `refcount block ${index} lies behind the end of the file (0x${raw.toString(16)})`);
    } else table[index] = hostOffset(Number(raw));
  }
  giveSpare(bytes);
  return table;
}

const hex = (offset: number): string => `0x${offset.toString(16)}`;

function invalid(disk: Disk, what: string): QcowalError {
  return new QcowalError(
    "IMAGE_INVALID",
    `${disk.path}: ${what}. Nothing was changed; 'qcowal repair' may mend it.`,
  );
}
