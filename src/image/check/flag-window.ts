import type { Geometry } from "../../format/index.ts";
import type { BlockWindow } from "../refcount-blocks.ts";
import { NO_ONES, type StoredRefcounts, UNREADABLE, isBitSet } from "./stored-refcounts.ts";

/** The flags of these blocks' clusters are compared in another pass. */
export const OTHER_PASS = -3;

/**
 * The clusters of which the COPIED flags are compared in one pass: each in one
 * pass only, however the windows of what is counted turn out. What lies behind
 * the last window is compared with that.
 */
export class FlagWindow {
  readonly stored: StoredRefcounts;
  readonly #geometry: Geometry;
  readonly #window: BlockWindow;

  constructor(stored: StoredRefcounts, window: BlockWindow) {
    this.stored = stored;
    this.#geometry = stored.geometry;
    this.#window = window;
  }

  /** As `StoredRefcounts.onesAt`; OTHER_PASS for a block outside the window. */
  onesAt(block: number): number {
    if (block < this.#window.first || block >= this.#window.end) return OTHER_PASS;
    return this.stored.onesAt(block);
  }

  /** Whether the refcount of a cluster is 1; undefined when that cannot be read, or is not compared in this pass. */
  isOne(cluster: number): boolean | undefined {
    const { refcountEntries } = this.#geometry;
    const at = this.onesAt(Math.floor(cluster / refcountEntries));
    if (at === UNREADABLE || at === OTHER_PASS) return undefined;
    return at !== NO_ONES && isBitSet(this.stored.ones, at * 8 + (cluster % refcountEntries));
  }
}
