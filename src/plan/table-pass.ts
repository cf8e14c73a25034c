import { type Image, type Refcounts, TableReach, type TableWords, readTables } from "../image/index.ts";
import { blockRange } from "./block-range.ts";
import type { SortedOffsets } from "./sorted-offsets.ts";

/**
 * Reads L2 tables in file order, once for each window of refcounts. The first
 * time it reads them all, and remembers to which windows each leads; from then
 * on it reads those that lead into the window.
 */
export class TablePass {
  readonly #image: Image;
  readonly #tables: SortedOffsets;
  readonly #onTable: (() => void) | undefined;
  #reach: TableReach | undefined;

  constructor(image: Image, tables: SortedOffsets, onTable: (() => void) | undefined) {
    this.#image = image;
    this.#tables = tables;
    this.#onTable = onTable;
  }

  async *tables(window: Refcounts): AsyncGenerator<TableWords> {
    const { disk, header } = this.#image;
    const known = this.#reach;
    const offsets =
      known === undefined
        ? this.#tables.offsets
        : this.#tables.offsets.filter((_, index) => known.meets(index, window.first, window.end));
    const reach = known === undefined && !window.isWhole ? new TableReach() : undefined;
    reach?.grow(this.#tables.length);
    let index = 0;
    for await (const table of readTables(disk, offsets, header.geometry.clusterSize)) {
      this.#onTable?.();
      if (reach !== undefined) {
        const { lowest, highest } = blockRange(header.geometry, table.words);
        reach.note(index, lowest, highest);
      }
      index += 1;
      yield table;
    }
    this.#reach ??= reach;
  }
}
