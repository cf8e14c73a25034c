import { invariant } from "../errors/index.ts";
import type { Geometry, RefcountArray } from "../format/index.ts";
import type { BlockWindow } from "./refcount-blocks.ts";
import type { RefcountTable } from "./refcount-table.ts";

/** Every slot of a refcount table, and what would lie behind it. */
export const WHOLE_TABLE: BlockWindow = { first: 0, end: Infinity };

/** Reads the blocks of these slots, which are ascending, and hands each on. */
export type LoadBlocks = (
  slots: readonly number[],
  onBlock: (slot: number, block: RefcountArray) => void,
) => Promise<void>;

/**
 * The stored refcounts of an image, or of the clusters in a window of it. With
 * `load` its blocks are read on demand: one that was not read yet is never taken
 * for one that is not there.
 */
export class Refcounts implements RefcountTable {
  readonly geometry: Geometry;
  readonly tableOffset: number;
  readonly table: Float64Array;
  /** Slots of the refcount table that the window covers: from `first` to before `end`. */
  readonly first: number;
  readonly end: number;
  /** By table slot from `first` on; a slot that has no block has no element. */
  readonly #blocks: (RefcountArray | undefined)[];
  /** All blocks of zeros are this one: a sparse file may have a million of them. */
  readonly #blank: RefcountArray | undefined;
  readonly #load: LoadBlocks | undefined;

  constructor(
    { geometry, tableOffset, table }: RefcountTable,
    blocks: (RefcountArray | undefined)[],
    blank?: RefcountArray,
    { first, end }: BlockWindow = WHOLE_TABLE,
    load?: LoadBlocks,
  ) {
    this.geometry = geometry;
    this.tableOffset = tableOffset;
    this.table = table;
    this.first = first;
    this.end = end;
    this.#blocks = blocks;
    this.#blank = blank;
    this.#load = load;
  }

  /** Every block of the window is there. */
  get isComplete(): boolean {
    return this.#load === undefined;
  }

  /** False for a stored block of the window that has to be read before it is used. */
  isRead(index: number): boolean {
    return (
      this.#load === undefined || this.#blocks[index - this.first] !== undefined || !this.#isStored(index)
    );
  }

  #isStored(index: number): boolean {
    return this.covers(index) && (this.table[index] ?? 0) !== 0;
  }

  /** Reads those among these blocks that are stored in the window and were not read yet. */
  async read(indexes: Iterable<number>): Promise<void> {
    const load = this.#load;
    if (load === undefined) return;
    const missing = [...new Set(indexes)].filter((index) => !this.isRead(index));
    if (missing.length === 0) return;
    await load(
      missing.toSorted((a, b) => a - b),
      (index, block) => {
        this.#blocks[index - this.first] = block;
      },
    );
  }

  /** Stored blocks of the window from `first` on. */
  *storedFrom(first: number): Generator<number> {
    const end = Math.min(this.end, this.table.length);
    for (let index = Math.max(first, this.first); index < end; index += 1) {
      if (this.table[index] !== 0) yield index;
    }
  }

  get isWhole(): boolean {
    return this.first === WHOLE_TABLE.first && this.end === WHOLE_TABLE.end;
  }

  covers(index: number): boolean {
    return index >= this.first && index < this.end;
  }

  /** Refcount of a host cluster in the window; 0 where no block covers it. */
  get(cluster: number): number {
    const entries = this.geometry.refcountEntries;
    return this.block(Math.floor(cluster / entries))?.[cluster % entries] ?? 0;
  }

  block(index: number): RefcountArray | undefined {
    const block = this.#blocks[index - this.first];
    if (block === undefined) invariant(this.isRead(index), "a refcount block is used that was not read");
    return block;
  }

  /** True for a stored block that is all zeros. */
  isBlank(index: number): boolean {
    const block = this.block(index);
    return block !== undefined && block === this.#blank;
  }

  /** The first cluster from `cluster` on that has refcount 0; where the window ends, the first one behind it. */
  nextFree(cluster: number): number {
    const { refcountEntries } = this.geometry;
    // Blocks that are alike are held once: one that has no free cluster is looked at once.
    let full: RefcountArray | undefined;
    for (let from = cluster; ;) {
      const index = Math.floor(from / refcountEntries);
      const block = this.block(index);
      if (block === undefined || !this.covers(index)) return from;
      const entry = block === full ? -1 : block.indexOf(0, from % refcountEntries);
      if (entry >= 0) return index * refcountEntries + entry;
      if (from % refcountEntries === 0) full = block;
      from = (index + 1) * refcountEntries;
    }
  }

  /** What of it lies in a shorter window that begins no earlier. */
  part(window: BlockWindow): Refcounts {
    if (window.first === this.first && window.end === this.end) return this;
    invariant(this.isComplete, "a part of refcounts that are read on demand");
    const blocks = this.#blocks.slice(window.first - this.first, window.end - this.first);
    return new Refcounts(this, blocks, this.#blank, window);
  }

  /** The same as if these slots were empty, as they are in `table`. */
  without(slots: { has(slot: number): boolean }, table: Float64Array): Refcounts {
    invariant(this.isComplete, "a part of refcounts that are read on demand");
    const blocks = this.#blocks.map((block, index) => (slots.has(this.first + index) ? undefined : block));
    return new Refcounts(
      { geometry: this.geometry, tableOffset: this.tableOffset, table },
      blocks,
      this.#blank,
      this,
    );
  }
}
