import type { Census, RefcountWindows } from "../image/index.ts";
import { WINDOW_BYTES } from "../image/index.ts";
import { ChangeArrays, MOST_BYTES_PER_CHANGE } from "./change-arrays.ts";
import { countedWindow } from "./counted-window.ts";
import { DifferenceTotals } from "./difference-totals.ts";
import { RefcountChanges } from "./refcount-changes.ts";
import { type AllowedChanges, refcountDifferences } from "./refcount-differences.ts";

/** Of the memory for a window: where more changes, it is cut, and what was counted and read is still there for the rest. */
const CHANGES_SHARE = 3 / 8;

/**
 * What makes the refcounts agree with the census, window after window. Where one
 * window holds everything, it is held from the first time on; else each time
 * costs the passes over the tables anew.
 */
export class RepairChanges {
  readonly #path: string;
  readonly #census: Census;
  readonly #windows: RefcountWindows;
  readonly #allowed: AllowedChanges;
  readonly #windowBytes: number;
  #whole: RefcountChanges | undefined;

  constructor(
    path: string,
    census: Census,
    windows: RefcountWindows,
    allowed: AllowedChanges,
    windowBytes: number = WINDOW_BYTES,
  ) {
    this.#path = path;
    this.#census = census;
    this.#windows = windows;
    this.#allowed = allowed;
    this.#windowBytes = windowBytes;
  }

  /** Compares everything. */
  async totals(): Promise<DifferenceTotals> {
    const totals = new DifferenceTotals();
    for await (const changes of this.#compared(totals)) {
      const { stored } = changes;
      if (stored.isWhole) this.#whole = changes;
    }
    return totals;
  }

  /** The changes of each window; valid until the next is asked for, and only once. */
  async *all(): AsyncGenerator<RefcountChanges> {
    if (this.#whole === undefined) yield* this.#compared(new DifferenceTotals());
    else yield this.#whole;
  }

  async *#compared(totals: DifferenceTotals): AsyncGenerator<RefcountChanges> {
    const arrays = new ChangeArrays(this.#path, this.#census.geometry.refcountEntries);
    for (let first = 0; first !== Infinity;) {
      const stored = await countedWindow(this.#census, this.#windows, first);
      const changes = refcountDifferences(
        this.#path,
        this.#census,
        stored,
        this.#allowed,
        totals,
        new RefcountChanges(this.#path, stored, arrays),
        this.#mostBlocks(),
      );
      yield changes;
      first = changes.stored.end;
      if (first !== Infinity) changes.giveUp();
    }
  }

  /** In how many blocks something may change, beside what the window holds already. */
  #mostBlocks(): number {
    const { refcountEntries } = this.#census.geometry;
    const held = this.#windows.heldBytes + this.#census.heldBytes;
    const left = Math.min(this.#windowBytes - held, this.#windowBytes * CHANGES_SHARE);
    return Math.max(1, Math.floor(left / (refcountEntries * MOST_BYTES_PER_CHANGE)));
  }
}
