import type { Disk } from "../disk/index.ts";
import type { Geometry, Header } from "../format/index.ts";
import { BlockReader } from "./read-refcounts.ts";
import { type RefcountTable, readRefcountTable, storedIn } from "./refcount-table.ts";
import type { BlockWindow } from "./refcount-blocks.ts";
import { type Refcounts, WHOLE_TABLE } from "./refcounts.ts";

/**
 * What the blocks of one window, and what is counted beside them, may take. With
 * clusters of 64 KiB a disk of 2 TiB is one window; a larger one costs a pass over its
 * tables for each window, and a machine with little memory can still do it.
 */
export const WINDOW_BYTES = 112 * 1024 * 1024;
/** What a plan holds of an L2 table: its place in lists of offsets and weights, where it leads, its intents. */
const BYTES_PER_TABLE = 160;

/**
 * What is left for a window beside `tables` L2 tables. With clusters of 4 KiB there
 * are sixteen times as many as with 64 KiB, and what is known of each takes more
 * than the window may.
 */
export const windowBytesBeside = (tables: number, { l2Entries }: Geometry): number =>
  // A bit for each entry: of those that lead into several windows, it is gathered which have a wrong flag.
  Math.max(WINDOW_BYTES / 4, WINDOW_BYTES - tables * (BYTES_PER_TABLE + l2Entries / 8));

/** Objects for a block and its changes, and its place in lists. */
const BLOCK_OVERHEAD_BYTES = 2304;

/** Bytes that one refcount block takes while it is held, when `perEntry` bytes are counted beside each entry. */
function heldBytes({ refcountOrder, refcountEntries }: Geometry, perEntry: number): number {
  const stored = 2 ** Math.max(refcountOrder - 3, 0);
  return refcountEntries * (stored + perEntry) + BLOCK_OVERHEAD_BYTES;
}

/** Cuts the slots of a refcount table into windows of blocks that fit in `bytes`; the last has no end. */
export function windowsOf(
  { geometry, table }: RefcountTable,
  perEntry: number,
  bytes: number,
): readonly BlockWindow[] {
  const most = Math.max(1, Math.floor(bytes / heldBytes(geometry, perEntry)));
  const starts = [0];
  let blocks = 0;
  for (let slot = 0; slot < table.length; slot += 1) {
    if (table[slot] === 0) continue;
    if (blocks === most) {
      starts.push(slot);
      blocks = 0;
    }
    blocks += 1;
  }
  return starts.map((first, index) => ({ first, end: starts[index + 1] ?? Infinity }));
}

/** The stored refcounts of an image, of which one window at a time is in memory. */
export class RefcountWindows {
  readonly stored: RefcountTable;
  readonly windows: readonly BlockWindow[];
  readonly #reader: BlockReader;
  #loaded: Refcounts | undefined;
  /** Slots whose blocks are read at once, ascending, where the others are read on demand. */
  #near: readonly number[] | undefined;
  #isComplete = true;

  constructor(stored: RefcountTable, windows: readonly BlockWindow[], reader: BlockReader) {
    this.stored = stored;
    this.windows = windows;
    this.#reader = reader;
  }

  /** Blocks that are stored. */
  get blocks(): number {
    return storedIn(this.stored.table);
  }

  /**
   * From now on blocks are read on demand, and free clusters are handed out where
   * the blocks of these slots count them, or the last block, as long as there are any: to find
   * the first one of all would take reading every block before it. With `isComplete`
   * all blocks of a window are read nevertheless.
   */
  readOnDemand(slots: Iterable<number>, isComplete = false): void {
    const { table } = this.stored;
    const near = new Set(slots);
    let last = table.length - 1;
    while (last >= 0 && table[last] === 0) last -= 1;
    near.add(last);
    this.#near = [...near].filter((slot) => (table[slot] ?? 0) !== 0).toSorted((a, b) => a - b);
    this.#isComplete = isComplete;
    this.#loaded = undefined;
  }

  /** The refcount of a cluster, in a window or not; its block is read for this alone. */
  async refcountOf(cluster: number): Promise<number> {
    const { geometry, table } = this.stored;
    const { refcountEntries } = geometry;
    const offset = table[Math.floor(cluster / refcountEntries)] ?? 0;
    if (offset === 0) return 0;
    return this.#reader.refcountAt(offset, cluster % refcountEntries);
  }

  /** What the blocks in memory take. */
  get heldBytes(): number {
    return this.#reader.heldBytes;
  }

  /** The window that holds a block. What was given before is no longer valid, unless it is the same. */
  async holding(index: number): Promise<Refcounts> {
    if (this.#loaded?.covers(index) === true) return this.#loaded;
    this.#loaded = undefined;
    const window = this.windows.findLast(({ first }) => first <= index) ?? WHOLE_TABLE;
    this.#loaded = await this.#open(window);
    return this.#loaded;
  }

  async #open(window: BlockWindow): Promise<Refcounts> {
    const near = this.#near;
    if (near === undefined || this.#isComplete) return this.#reader.read(window);
    const refcounts = this.#reader.onDemand(window);
    await refcounts.read(near);
    return refcounts;
  }

  /** The same as if these slots of the table were empty. What was given before stays valid until more is asked for. */
  without(slots: { has(slot: number): boolean }): RefcountWindows {
    const table = this.stored.table.map((offset, slot) => (slots.has(slot) ? 0 : offset));
    const stored = { ...this.stored, table };
    const result = new RefcountWindows(stored, this.windows, this.#reader.reading(stored));
    result.#loaded = this.#loaded?.without(slots, table);
    return result;
  }

  /** Each window once, ascending. */
  async *all(): AsyncGenerator<Refcounts> {
    for (const { first } of this.windows) yield this.holding(first);
  }

  /** The first cluster from `cluster` on that has refcount 0: of all, or near those that are read anyway. */
  async nextFree(cluster: number): Promise<number> {
    const near = await this.#nextFreeNear(cluster);
    if (near !== undefined) return near;
    const { refcountEntries } = this.stored.geometry;
    for (let from = cluster; ;) {
      const index = Math.floor(from / refcountEntries);
      const window = await this.holding(index);
      await window.read(window.storedFrom(index));
      from = window.nextFree(from);
      if (window.covers(Math.floor(from / refcountEntries))) return from;
    }
  }

  async #nextFreeNear(cluster: number): Promise<number | undefined> {
    const { refcountEntries } = this.stored.geometry;
    for (const slot of this.#near ?? []) {
      if ((slot + 1) * refcountEntries <= cluster) continue;
      const first = slot * refcountEntries;
      const block = (await this.holding(slot)).block(slot);
      const entry = block?.indexOf(0, Math.max(0, cluster - first)) ?? -1;
      if (entry >= 0) return first + entry;
    }
    return undefined;
  }
}

/**
 * Opens the refcounts of an image for passes in which `perEntry` bytes are
 * counted beside each of them. `onBlock` is called for each block that is read.
 * @throws QcowalError what `readRefcountTable` throws
 */
export async function openRefcounts(
  disk: Disk,
  header: Header,
  fileSize: number,
  {
    perEntry,
    bytes,
    onBlock,
  }: {
    readonly perEntry: number;
    readonly bytes?: number | undefined;
    readonly onBlock?: (() => void) | undefined;
  },
): Promise<RefcountWindows> {
  return windowsInto(disk, await readRefcountTable(disk, header, fileSize), { perEntry, bytes, onBlock });
}

/** The same for a refcount table that was read. */
export function windowsInto(
  disk: Disk,
  stored: RefcountTable,
  {
    perEntry,
    bytes = WINDOW_BYTES,
    onBlock,
  }: {
    readonly perEntry: number;
    readonly bytes?: number | undefined;
    readonly onBlock?: (() => void) | undefined;
  },
): RefcountWindows {
  const reader = new BlockReader(disk, stored, onBlock);
  return new RefcountWindows(stored, windowsOf(stored, perEntry, bytes), reader);
}
