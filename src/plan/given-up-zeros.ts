import type { UnalignedZero } from "../image/index.ts";
import { PackedIntents, type ZeroedEntry } from "../intent/index.ts";

/** An intent of this many entries still fits a journal record. */
const MAX_ENTRIES = 16_384;

/** Entries that read as zeros and keep a cluster at an odd place. They come in the order of the tables, and in each table of its entries. */
export class GivenUpZeros {
  readonly #intents = new PackedIntents();
  #table = 0;
  #entries: ZeroedEntry[] = [];
  #count = 0;
  #firstTable = 0;

  get count(): number {
    return this.#count;
  }

  /** Host offset of the first table that has one. */
  get firstTable(): number {
    return this.#firstTable;
  }

  add({ table, entry, high, low }: UnalignedZero): void {
    if (this.#count === 0) this.#firstTable = table;
    if (table !== this.#table || this.#entries.length === MAX_ENTRIES) this.#close();
    this.#table = table;
    this.#entries.push([entry, high, low]);
    this.#count += 1;
  }

  /** Makes plain zeros of them. Nothing may be added any more. */
  intents(): PackedIntents {
    this.#close();
    return this.#intents;
  }

  #close(): void {
    const entries = this.#entries;
    if (entries.length > 0) this.#intents.push({ kind: "zero", table: this.#table, entries });
    this.#entries = [];
  }
}
