import type { Geometry, RefcountArray } from "../format/index.ts";
import type { BlockWindow } from "./refcount-blocks.ts";
import type { RefcountTable } from "./refcount-table.ts";

/** Every slot of a refcount table, and what would lie behind it. */
export const WHOLE_TABLE: BlockWindow = { first: 0, end: Infinity };

/** The stored refcounts of an image, or of the clusters in a window of it. */
export class Refcounts implements RefcountTable {
  readonly geometry: Geometry;
  readonly tableOffset: number;
  readonly table: Float64Array;
  /** Slots of the refcount table that the window covers: from `first` to before `end`. */
  readonly first: number;
  readonly end: number;
  /** By table slot from `first` on; a slot that has no block has no element. */
  readonly #blocks: readonly (RefcountArray | undefined)[];
  /** All blocks of zeros are this one: a sparse file may have a million of them. */
  readonly #blank: RefcountArray | undefined;

  constructor(
    { geometry, tableOffset, table }: RefcountTable,
    blocks: readonly (RefcountArray | undefined)[],
    blank?: RefcountArray,
    { first, end }: BlockWindow = WHOLE_TABLE,
  ) {
    this.geometry = geometry;
    this.tableOffset = tableOffset;
    this.table = table;
    this.first = first;
    this.end = end;
    this.#blocks = blocks;
    this.#blank = blank;
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
    return this.#blocks[index - this.first];
  }

  /** True for a stored block that is all zeros. */
  isBlank(index: number): boolean {
    const block = this.block(index);
    return block !== undefined && block === this.#blank;
  }

  /** The first cluster from `cluster` on that has refcount 0; where the window ends, the first one behind it. */
  nextFree(cluster: number): number {
    const { refcountEntries } = this.geometry;
    for (let from = cluster; ;) {
      const index = Math.floor(from / refcountEntries);
      const block = this.block(index);
      if (block === undefined || !this.covers(index)) return from;
      const entry = block.indexOf(0, from % refcountEntries);
      if (entry >= 0) return index * refcountEntries + entry;
      from = (index + 1) * refcountEntries;
    }
  }

  /** What of it lies in a shorter window that begins no earlier. */
  part(window: BlockWindow): Refcounts {
    if (window.first === this.first && window.end === this.end) return this;
    const blocks = this.#blocks.slice(window.first - this.first, window.end - this.first);
    return new Refcounts(this, blocks, this.#blank, window);
  }

  /** The same as if these slots were empty, as they are in `table`. */
  without(slots: { has(slot: number): boolean }, table: Float64Array): Refcounts {
    const blocks = this.#blocks.map((block, index) => (slots.has(this.first + index) ? undefined : block));
    return new Refcounts(
      { geometry: this.geometry, tableOffset: this.tableOffset, table },
      blocks,
      this.#blank,
      this,
    );
  }
}
