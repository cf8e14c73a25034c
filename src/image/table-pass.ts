import { blockRange } from "./block-range.ts";
import type { Image } from "./image.ts";
import type { KeptTables } from "./kept-tables.ts";
import type { L2Table } from "./l2-table.ts";
import { readTables } from "./read-table.ts";
import type { BlockWindow } from "./refcount-blocks.ts";
import type { SortedOffsets } from "./sorted-offsets.ts";
import { TableReach } from "./table-reach.ts";

/**
 * Reads L2 tables in file order, once for each window of refcounts. The first
 * time it reads them all, and remembers to which windows each leads; from then
 * on it reads those that lead into the window.
 */
export class TablePass {
  readonly #image: Image;
  readonly #tables: SortedOffsets;
  readonly #onTable: (() => void) | undefined;
  readonly #kept: KeptTables | undefined;
  #reach: TableReach | undefined;
  /** What the first pass notes while it reads. */
  #noted: TableReach | undefined;

  /** `kept` has what another pass read and this one needs, and takes what it reads; while one window is all there is. */
  constructor(image: Image, tables: SortedOffsets, onTable: (() => void) | undefined, kept?: KeptTables) {
    this.#image = image;
    this.#tables = tables;
    this.#onTable = onTable;
    this.#kept = kept;
  }

  /** `remembers`: another window may follow. */
  tables(window: BlockWindow, remembers = !isWhole(window)): AsyncIterableIterator<L2Table> {
    const { disk, header } = this.#image;
    if (this.#kept !== undefined && isWhole(window)) return this.#onceRead(this.#kept);
    const known = this.#reach;
    const offsets =
      known === undefined
        ? this.#tables.offsets
        : this.#tables.offsets.filter((_, index) => known.meets(index, window.first, window.end));
    const reach = known === undefined && remembers ? new TableReach() : undefined;
    reach?.grow(this.#tables.length);
    this.#noted = reach ?? known;
    let index = 0;
    const onTable = (table: L2Table): void => {
      this.#onTable?.();
      if (reach !== undefined) {
        const { lowest, highest } = blockRange(header.geometry, table);
        reach.note(index, lowest, highest);
      }
      index += 1;
    };
    return readTables(disk, offsets, header.geometry, onTable, () => (this.#reach ??= reach));
  }

  /** Whether no pass for a window behind this one reads a table that is read for this one. */
  isLast({ offset }: L2Table, { end }: BlockWindow): boolean {
    return end === Infinity || this.#noted?.meets(this.#tables.indexOf(offset), end, Infinity) === false;
  }

  /** All of them in order, whether they are kept or read. */
  #onceRead(kept: KeptTables): AsyncIterableIterator<L2Table> {
    const { disk, header } = this.#image;
    const { offsets } = this.#tables;
    const missing = kept.isEmpty ? offsets : offsets.filter((offset) => !kept.has(offset));
    const read = readTables(disk, missing, header.geometry, (table) => {
      this.#onTable?.();
      kept.offer(table);
    });
    return missing.length === offsets.length ? read : this.#withKept(kept, read);
  }

  async *#withKept(kept: KeptTables, read: AsyncIterable<L2Table>): AsyncGenerator<L2Table> {
    const { offsets } = this.#tables;
    let done = 0;
    for await (const table of read) {
      const index = this.#tables.indexOf(table.offset);
      yield* kept.take(offsets, done, index);
      done = index + 1;
      yield table;
    }
    yield* kept.take(offsets, done, offsets.length);
  }
}

const isWhole = ({ first, end }: BlockWindow): boolean => first === 0 && end === Infinity;
