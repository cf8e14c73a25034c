import { type L2Table, type RefcountWindows, type Refcounts, blocksBelow } from "../image/index.ts";
import { slotsOf } from "./metadata.ts";
import type { StoredBytes } from "./released.ts";

/** Tells of a refcount block, by its offset, that is in use and not counted. */
export type OnUncountedBlock = (offset: number) => Error;

/**
 * Where few tables are counted, few of the refcount blocks are needed: they are
 * read when something leads there. Each block that is read brings the one that
 * counts its own cluster, because a block that looks free may be anybody's.
 */
export class NeededBlocks {
  readonly #windows: RefcountWindows;
  readonly #refcounts: Refcounts;
  readonly #onUncounted: OnUncountedBlock;
  readonly #known = new Set<number>();
  /** Below which all blocks are known. */
  readonly #tables = new Set<number>();

  constructor(windows: RefcountWindows, refcounts: Refcounts, onUncounted: OnUncountedBlock) {
    this.#windows = windows;
    this.#refcounts = refcounts;
    this.#onUncounted = onUncounted;
  }

  /** Nothing has to be asked for. */
  get isComplete(): boolean {
    return this.#refcounts.isComplete;
  }

  /** Those in which clusters are handed out, and those that count these places. */
  async begin(places: Iterable<StoredBytes>): Promise<void> {
    if (this.isComplete) return;
    const { geometry } = this.#refcounts;
    const slots = [...this.#refcounts.storedFrom(0)].filter((slot) => this.#refcounts.isRead(slot));
    for (const place of places) slots.push(...slotsOf(geometry, place));
    await this.#need(slots);
  }

  /** Those that count clusters at these offsets. */
  async ofClusters(offsets: Iterable<number>): Promise<void> {
    if (this.isComplete) return;
    const { clusterSize, refcountEntries } = this.#refcounts.geometry;
    const slots = new Set<number>();
    for (const offset of offsets) slots.add(Math.floor(offset / clusterSize / refcountEntries));
    await this.#need(slots);
  }

  /** Those that count what an L2 table refers to. */
  async below(table: L2Table): Promise<void> {
    if (this.isComplete || this.#tables.has(table.offset)) return;
    await this.#need(blocksBelow(this.#refcounts.geometry, table));
    this.#tables.add(table.offset);
  }

  async #need(slots: Iterable<number>): Promise<void> {
    const { table, geometry } = this.#refcounts;
    let wanted = this.#unknown(slots);
    while (wanted.length > 0) {
      await this.#refcounts.read(wanted);
      const own: number[] = [];
      for (const slot of wanted) {
        const offset = table[slot] ?? 0;
        const cluster = offset / geometry.clusterSize;
        const home = Math.floor(cluster / geometry.refcountEntries);
        if (this.#refcounts.covers(home)) own.push(home);
        else if ((await this.#windows.refcountOf(cluster)) === 0) throw this.#onUncounted(offset);
      }
      wanted = this.#unknown(own);
    }
  }

  /** Stored blocks of the window that nobody has asked for yet. */
  #unknown(slots: Iterable<number>): number[] {
    const { table } = this.#refcounts;
    const unknown: number[] = [];
    for (const slot of slots) {
      if (this.#known.has(slot) || !this.#refcounts.covers(slot) || (table[slot] ?? 0) === 0) continue;
      this.#known.add(slot);
      unknown.push(slot);
    }
    return unknown;
  }
}
