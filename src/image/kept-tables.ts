import type { TableWords } from "./read-table.ts";
import type { SortedOffsets } from "./sorted-offsets.ts";

/** Of tables of 64 KiB that are those of a disk of 128 GiB; with what else a plan holds it stays below its limit. */
const MOST_BYTES = 16 * 1024 * 1024;

/** Tables that one pass reads and another needs again, as many as fit: the others are read twice. */
export class KeptTables {
  readonly #tables = new Map<number, TableWords>();
  #wanted: SortedOffsets | undefined;
  #left: number;

  constructor(bytes = MOST_BYTES) {
    this.#left = bytes;
  }

  /** Which will be needed again. */
  want(offsets: SortedOffsets): void {
    this.#wanted = offsets;
  }

  offer({ offset, words, isEmpty }: TableWords): void {
    if (this.#wanted?.has(offset) !== true || words.byteLength > this.#left) return;
    this.#left -= words.byteLength;
    this.#tables.set(offset, { offset, words: words.slice(), isEmpty });
  }

  get isEmpty(): boolean {
    return this.#tables.size === 0;
  }

  has(offset: number): boolean {
    return this.#tables.has(offset);
  }

  /** Those among `offsets` from `from` to before `end`, which are given up. */
  *take(offsets: Float64Array, from: number, end: number): Generator<TableWords> {
    for (let index = from; index < end; index += 1) {
      const offset = offsets[index] ?? 0;
      const table = this.#tables.get(offset);
      if (table === undefined) continue;
      this.#tables.delete(offset);
      this.#left += table.words.byteLength;
      yield table;
    }
  }
}
