import type { Disk } from "../disk/index.ts";
import type { Geometry } from "../format/index.ts";
import { readClusters } from "./read-table.ts";

/** Slots of the refcount table, and the clusters that their blocks count: from `first` to before `end`. */
export interface BlockWindow {
  readonly first: number;
  readonly end: number;
}

/** A refcount block as it is stored. */
export interface StoredBlock {
  /** The slots of the refcount table that name it, in order; a sound table has one. */
  readonly slots: Uint32Array;
  /** May be decoded in place; valid until the next block is asked for. */
  readonly bytes: Buffer;
}

/**
 * Streams the refcount blocks that the slots of a window name, each once and in
 * file order. `table` has the host offset of each slot's block; those that are 0
 * or not `isStored` are left out.
 */
export async function* readRefcountBlocks(
  disk: Disk,
  geometry: Geometry,
  table: Float64Array,
  { first, end }: BlockWindow,
  isStored: (slot: number) => boolean = () => true,
): AsyncGenerator<StoredBlock> {
  const slots = slotsInFileOrder(table, first, Math.min(end, table.length), isStored);
  /** Where the slots of each distinct block begin. */
  const starts = new Uint32Array(slots.length);
  const offsets = new Float64Array(slots.length);
  let distinct = 0;
  for (let index = 0; index < slots.length; index += 1) {
    const offset = table[slots[index] ?? 0] ?? 0;
    if (distinct > 0 && offsets[distinct - 1] === offset) continue;
    starts[distinct] = index;
    offsets[distinct] = offset;
    distinct += 1;
  }
  let next = 0;
  for await (const { bytes } of readClusters(disk, offsets.subarray(0, distinct), geometry.clusterSize)) {
    const begin = starts[next];
    next += 1;
    yield { slots: slots.subarray(begin, next === distinct ? slots.length : starts[next]), bytes };
  }
}

function slotsInFileOrder(
  table: Float64Array,
  first: number,
  end: number,
  isStored: (slot: number) => boolean,
): Uint32Array {
  const slots = new Uint32Array(Math.max(0, end - first));
  let count = 0;
  let isOrdered = true;
  for (let slot = first; slot < end; slot += 1) {
    const offset = table[slot] ?? 0;
    if (offset === 0 || !isStored(slot)) continue;
    if (count > 0 && offset < (table[slots[count - 1] ?? 0] ?? 0)) isOrdered = false;
    slots[count] = slot;
    count += 1;
  }
  const found = slots.subarray(0, count);
  // They mostly are: a sort that calls back for each of a million takes a second.
  return isOrdered ? found : found.toSorted((a, b) => (table[a] ?? 0) - (table[b] ?? 0) || a - b);
}
