import { packTable, unpackTable } from "./packed-table.ts";
import type { TableWords } from "./read-table.ts";
import type { SortedOffsets } from "./sorted-offsets.ts";

/**
 * Of tables of 64 KiB that are those of a disk of 128 GiB, and of any that was
 * written in order; with what else a plan holds it stays below its limit.
 */
const MOST_BYTES = 16 * 1024 * 1024;

interface Kept {
  readonly stored: Uint32Array;
  readonly isPacked: boolean;
  readonly isEmpty: boolean;
}

/** Tables that one pass reads and another needs again, as many as fit: the others are read twice. */
export class KeptTables {
  readonly #tables = new Map<number, Kept>();
  #wanted: SortedOffsets | undefined;
  #left: number;
  /** Where packed tables are unpacked: each is valid until the next one is asked for. */
  #scratch = new Uint32Array(0);

  constructor(bytes = MOST_BYTES) {
    this.#left = bytes;
  }

  /** Which will be needed again. */
  want(offsets: SortedOffsets): void {
    this.#wanted = offsets;
  }

  offer({ offset, words, isEmpty }: TableWords): void {
    if (this.#wanted?.has(offset) !== true) return;
    const packed = packTable(words);
    const { byteLength } = packed ?? words;
    if (byteLength > this.#left) return;
    this.#left -= byteLength;
    if (this.#scratch.length < words.length) this.#scratch = new Uint32Array(words.length);
    this.#tables.set(offset, { stored: packed ?? words.slice(), isPacked: packed !== undefined, isEmpty });
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
      const { stored, isPacked, isEmpty } = table;
      this.#tables.delete(offset);
      this.#left += stored.byteLength;
      if (isPacked) unpackTable(stored, this.#scratch);
      yield { offset, words: isPacked ? this.#scratch : stored, isEmpty };
    }
  }
}
