import { type Geometry, isCopied } from "../format/index.ts";
import type { L2Table, SortedOffsets } from "../image/index.ts";
import { type CopiedSink, flagsInL2 } from "./copied-intents.ts";
import type { OnWrongFlags } from "./compare-run.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

/** 16 TiB with clusters of 64 KiB take half of it. */
const MAX_BYTES = 64 * 1024 * 1024;

/**
 * COPIED flags that are found wrong window after window, a bit for each entry. On a disk in
 * no order every window decides a few entries of every table: told window by window, each of
 * them would be a run of its own, and a disk of 4 TiB has 67 million.
 */
export class GatheredFlags {
  readonly #geometry: Geometry;
  readonly #tables: SortedOffsets;
  /** Of one table. */
  readonly #bytes: number;
  /** Made when something is wrong: most images are one window. */
  #wrong: Uint8Array | undefined;

  constructor(geometry: Geometry, tables: SortedOffsets) {
    this.#geometry = geometry;
    this.#tables = tables;
    this.#bytes = Math.ceil(geometry.l2Entries / 8);
  }

  /** False for more tables than any disk has that is in use: a bit for each of their entries would take too much. */
  get fits(): boolean {
    return this.#tables.length * this.#bytes <= MAX_BYTES;
  }

  /**
   * Compares the entries of a table that lead into the window; see `RefcountChanges.compareFlags`,
   * and for what it returns and throws too.
   */
  compare(changes: RefcountChanges, table: L2Table): number {
    const { l2Entries } = this.#geometry;
    const base = this.#tables.indexOf(table.offset) * this.#bytes;
    return changes.compareFlags(table.offset, table, 0, l2Entries, (first, count) => {
      this.#wrong ??= new Uint8Array(this.#tables.length * this.#bytes);
      const wrong = this.#wrong;
      for (let entry = first; entry < first + count; entry += 1) {
        const at = base + (entry >>> 3);
        wrong[at] = (wrong[at] ?? 0) | (1 << (entry & 7));
      }
    });
  }

  /** Tells all that is wrong in a table, when every window into which it leads was compared. */
  into(result: CopiedSink, table: L2Table): void {
    const base = this.#tables.indexOf(table.offset) * this.#bytes;
    const bits = this.#wrong?.subarray(base, base + this.#bytes);
    if (bits?.some((byte) => byte !== 0) !== true) return;
    const step = this.#geometry.l2EntrySize / 4;
    const tell = (from: number, end: number, onWrong: OnWrongFlags): void => {
      const { words } = table;
      for (let entry = from; entry < end; entry += 1) {
        if (((bits[entry >>> 3] ?? 0) & (1 << (entry & 7))) === 0) continue;
        onWrong(entry, 1, !isCopied(words[entry * step] ?? 0));
      }
    };
    flagsInL2(this.#geometry, table, tell, result);
  }
}
