import { type QcowalError, invariant } from "../errors/index.ts";
import {
  EntryRuns,
  type Geometry,
  type L2Reference,
  type RefcountArray,
  type TableEntries,
  decodeL2Entry,
  isCopied,
} from "../format/index.ts";
import { type BlockWindow, type Refcounts, homeOf, zeroBuffer } from "../image/index.ts";
import { type BlocksOfWindow, addSingles } from "./add-singles.ts";
import { BlockChange, type BlockChanges } from "./block-change.ts";
import { ChangeArrays } from "./change-arrays.ts";
import { checkRefcount } from "./check-refcount.ts";
import { ClusterSet } from "./cluster-set.ts";
import { type OnWrongFlags, type RefusesCluster, compareRun } from "./compare-run.ts";
import { SingleEntries, compareSingles } from "./compare-singles.ts";
import { damagedImage } from "./damaged-image.ts";

/**
 * How many references each host cluster gains or loses: flat arrays by refcount
 * block, in the units in which they will be stored. A refcount counts paths from
 * the roots, so a table that gains a root gains one for every cluster below it.
 * What lies outside the window of the stored refcounts is passed over.
 *
 * The loops over L2 entries see every entry of a disk: they decide the common
 * kind of entry by themselves and leave the others to `decodeL2Entry`.
 */
export class RefcountChanges {
  stored: Refcounts;
  readonly #image: string;
  readonly #geometry: Geometry;
  readonly #entryBits: number;
  /** What is stored where no block is: nothing. */
  readonly #nothing: RefcountArray;
  /** By refcount block of the window; a block without changes has no element. */
  readonly #blocks: (BlockChange | undefined)[] = [];
  readonly #reference: L2Reference = { kind: "none", first: 0, last: 0 };
  readonly #runs: EntryRuns;
  /** Clusters of one table that are counted together. */
  #singles: Uint32Array | undefined;
  /** Entries of one table that are compared together. */
  #compared: SingleEntries | undefined;
  /** Whether no refcount is 0, of the blocks that were looked at. */
  readonly #full = new Map<RefcountArray, boolean>();

  /** Clusters that are handed out: a table that refers to one already was never counted. */
  readonly #taken = new ClusterSet();
  /** Until something is counted again. */
  #counted: { readonly changed: number; readonly newlyExclusive: number } | undefined;
  readonly #arrays: ChangeArrays;

  readonly #refuse: RefusesCluster = (cluster, isCounted) => {
    if (!isCounted || this.#taken.has(cluster)) throw this.#uncounted(cluster);
  };

  /** Windows of one image that are counted one after the other share their arrays. */
  constructor(
    image: string,
    stored: Refcounts,
    arrays = new ChangeArrays(image, stored.geometry.refcountEntries),
  ) {
    this.#image = image;
    this.stored = stored;
    this.#arrays = arrays;
    this.#geometry = stored.geometry;
    this.#runs = new EntryRuns(stored.geometry);
    this.#entryBits = Math.log2(stored.geometry.refcountEntries);
    const { refcountEntries } = stored.geometry;
    this.#nothing = new Uint8Array(zeroBuffer(refcountEntries), 0, refcountEntries);
  }

  /** Blocks in which something changes, ascending. */
  get blockIndexes(): readonly number[] {
    const indexes: number[] = [];
    // Unlike `entries`, `forEach` skips the blocks that are not there.
    this.#blocks.forEach((_, index) => indexes.push(this.stored.first + index));
    return indexes;
  }

  /** Counts no longer what lies behind the end of a shorter window. */
  shorten(window: BlockWindow): void {
    this.#counted = undefined;
    this.stored = this.stored.part(window);
    this.#giveUp(this.#blocks.splice(window.end - window.first));
  }

  /** Leaves its arrays to the next window: nothing is counted any more. */
  giveUp(): void {
    this.#counted = undefined;
    this.#giveUp(this.#blocks.splice(0));
  }

  #giveUp(blocks: readonly (BlockChange | undefined)[]): void {
    this.#arrays.giveBack(blocks.flatMap((block) => block?.entries ?? []));
  }

  /** Whether a cluster is counted here. */
  covers(cluster: number): boolean {
    return this.stored.covers(Math.floor(cluster / this.#geometry.refcountEntries));
  }

  get #window(): BlocksOfWindow {
    return { blocks: this.#blocks, first: this.stored.first, entryBits: this.#entryBits };
  }

  #changesIn(index: number): BlockChange | undefined {
    return this.#blocks[index - this.stored.first];
  }

  /** Refcount after the change. Infinity stays what it is: too large to count. */
  after(cluster: number): number {
    const { refcountEntries } = this.#geometry;
    const change = this.#changesIn(Math.floor(cluster / refcountEntries))?.at(cluster % refcountEntries) ?? 0;
    return this.stored.get(cluster) + change;
  }

  /** Changes the references to a cluster that something in the image refers to already. */
  addReferences(cluster: number, weight: number): void {
    if (this.stored.get(cluster) === 0) throw this.#uncounted(cluster);
    this.add(cluster, weight);
  }

  /** Changes the references to a cluster, also one that was free. */
  add(cluster: number, weight: number): void {
    const { refcountEntries } = this.#geometry;
    const entry = cluster % refcountEntries;
    this.#counted = undefined;
    this.#changesOf(Math.floor(cluster / refcountEntries)).add(entry, entry + 1, weight);
  }

  /** Counts a cluster that is handed out. */
  take(cluster: number): void {
    this.#taken.add(cluster);
    this.add(cluster, 1);
  }

  /** Adds `weight` to every cluster that an L2 table refers to. Returns whether a COPIED flag is set in it, or in all of its entries. */
  addL2Table(offset: number, table: TableEntries, weight: number): "no flags" | "some flags" | "all flags" {
    const { refcountEntries } = this.#geometry;
    const entryBits = this.#entryBits;
    const runs = this.#runs;
    this.#counted = undefined;
    let index = -1;
    let changes: BlockChange | undefined;
    let highs = 0;
    let common = 0xffff_ffff;
    let singles = this.#singles;
    let count = 0;
    const fromCluster = this.stored.first * refcountEntries;
    const toCluster = this.stored.end * refcountEntries;
    runs.begin(table);
    while (runs.next()) {
      const { high, low, cluster: firstCluster } = runs;
      highs |= high;
      common &= high;
      if (firstCluster <= 0) {
        if ((high | low) !== 0) this.#addOtherEntry(offset, runs.entry, high, low, weight);
        continue;
      }
      const endCluster = firstCluster + runs.count;
      if (endCluster <= fromCluster || firstCluster >= toCluster) continue;
      // What of it one block counts, and the next one.
      for (let cluster = firstCluster, first = 0, end = 0; cluster < endCluster; cluster += end - first) {
        if (cluster >>> entryBits !== index) {
          index = cluster >>> entryBits;
          changes = this.stored.covers(index) ? this.#changesOf(index) : undefined;
        }
        first = cluster & (refcountEntries - 1);
        end = Math.min(first + endCluster - cluster, refcountEntries);
        if (changes === undefined) continue;
        if (end - first === 1 && changes.entries !== undefined) {
          singles ??= this.#singles = new Uint32Array(this.#geometry.l2Entries);
          singles[count++] = cluster;
          continue;
        }
        const uncounted = changes.uncounted(first, end);
        if (uncounted >= 0) throw this.#uncounted(cluster + uncounted - first);
        changes.add(first, end, weight);
      }
    }
    if (singles !== undefined && count > 0) {
      const uncounted = addSingles(singles.subarray(0, count), this.#window, weight);
      if (uncounted >= 0) throw this.#uncounted(uncounted);
    }
    if (isCopied(common)) return "all flags";
    return isCopied(highs) ? "some flags" : "no flags";
  }

  /** Whether no refcount of a block is 0. Blocks that are alike are held once, and looked at once. */
  #isFull(stored: RefcountArray): boolean {
    let isFull = this.#full.get(stored);
    if (isFull === undefined) this.#full.set(stored, (isFull = !stored.includes(0)));
    return isFull;
  }

  #addOtherEntry(offset: number, entry: number, high: number, low: number, weight: number): void {
    const reference = this.#decode(offset, entry, high, low);
    if (reference.kind === "none") return;
    for (let cluster = reference.first; cluster <= reference.last; cluster += 1) {
      if (this.covers(cluster)) this.addReferences(cluster, weight);
    }
  }

  /**
   * Compares the COPIED flags of the entries from `first` to before `end` of an L2 table with the rule: set where, and only
   * where, exactly one path leads to the cluster. `onWrong` is told of all others
   * in order. Returns how many clusters
   * had other references before, and have none afterwards.
   * @throws QcowalError IMAGE_INVALID for a cluster that would not be counted
   */
  compareFlags(
    offset: number,
    table: TableEntries,
    first: number,
    end: number,
    onWrong: OnWrongFlags,
  ): number {
    const { l2Entries, refcountEntries } = this.#geometry;
    const entryBits = this.#entryBits;
    const runs = this.#runs;
    let index = -1;
    let isHere = false;
    let stored = this.#nothing;
    let block: BlockChange | undefined;
    let newlyExclusive = 0;
    let singles = this.#compared;
    /** What comes next is told behind them. */
    const flush = (): void => {
      if (singles === undefined || singles.count === 0) return;
      newlyExclusive += compareSingles(singles, this.#window, onWrong, this.#refuse);
    };
    const fromCluster = this.stored.first * refcountEntries;
    const toCluster = this.stored.end * refcountEntries;
    runs.begin(table, first, end === l2Entries ? Infinity : end);
    while (runs.next()) {
      const { entry, high, low, cluster: firstCluster } = runs;
      const isSet = isCopied(high);
      if (firstCluster <= 0) {
        if ((high | low) === 0) continue;
        flush();
        const only = this.#onlyClusterOfOtherEntry(offset, entry, high, low);
        if (only === undefined) continue;
        if (only > 0 !== isSet) onWrong(entry, 1, only > 0);
        if (only > 0 && this.isNewlyExclusive(only)) newlyExclusive += 1;
        continue;
      }
      const endCluster = firstCluster + runs.count;
      // On a disk in no order most of a table belongs to other windows.
      if (endCluster <= fromCluster || firstCluster >= toCluster) continue;
      for (let cluster = firstCluster, from = 0, to = 0; cluster < endCluster; cluster += to - from) {
        if (cluster >>> entryBits !== index) {
          index = cluster >>> entryBits;
          isHere = this.stored.covers(index);
          stored = (isHere ? this.stored.block(index) : undefined) ?? this.#nothing;
          block = isHere ? this.#changesIn(index) : undefined;
        }
        from = cluster & (refcountEntries - 1);
        to = Math.min(from + endCluster - cluster, refcountEntries);
        if (!isHere) continue;
        if (to - from === 1 && block?.entries !== undefined) {
          singles ??= this.#compared = new SingleEntries(l2Entries);
          singles.push(cluster, entry + cluster - firstCluster, isSet);
          continue;
        }
        flush();
        const blockStart = cluster - from;
        const above = firstCluster - blockStart - entry;
        const run = { stored, block, from, to, cluster: blockStart, above, isSet };
        newlyExclusive += compareRun(run, onWrong, this.#refuse);
      }
    }
    flush();
    return newlyExclusive;
  }

  /** The cluster of a standard entry to which only this path will lead; 0 for all others. Undefined where another window decides. */
  #onlyClusterOfOtherEntry(offset: number, entry: number, high: number, low: number): number | undefined {
    const reference = this.#decode(offset, entry, high, low);
    const { first, last } = homeOf(reference);
    for (let cluster = first; cluster <= last; cluster += 1) {
      if (this.#taken.has(cluster)) throw this.#uncounted(cluster);
    }
    if (!this.covers(first)) return undefined;
    if (reference.kind !== "standard") return 0;
    const after = this.after(first);
    if (after === 0) throw this.#uncounted(first);
    return after === 1 ? first : 0;
  }

  /** Whether a cluster had several references, and has one afterwards. */
  isNewlyExclusive(cluster: number): boolean {
    return this.after(cluster) === 1 && this.stored.get(cluster) > 1;
  }

  /** How many of them an L2 table refers to. All of it was counted. */
  newlyExclusiveBelow(table: TableEntries): number {
    const runs = this.#runs;
    let found = 0;
    runs.begin(table);
    while (runs.next()) {
      const { cluster, count } = runs;
      if (cluster <= 0) continue;
      for (let index = 0; index < count; index += 1) if (this.isNewlyExclusive(cluster + index)) found += 1;
    }
    return found;
  }

  /** How many clusters had several references, and have one afterwards. */
  newlyExclusive(): number {
    return this.#totals().newlyExclusive;
  }

  /** Entries that change. */
  count(): number {
    return this.#totals().changed;
  }

  /** Both in one pass over everything that is counted. */
  #totals(): { readonly changed: number; readonly newlyExclusive: number } {
    if (this.#counted !== undefined) return this.#counted;
    let changed = 0;
    let newlyExclusive = 0;
    for (const block of this.#blocks) {
      block?.forEachRun((first, end, from, change) => {
        changed += end - first;
        if (change < 0 && from + change === 1) newlyExclusive += end - first;
      });
    }
    this.#counted = { changed, newlyExclusive };
    return this.#counted;
  }

  #decode(offset: number, entry: number, high: number, low: number): L2Reference {
    decodeL2Entry(this.#geometry, high, low, this.#reference);
    if (this.#reference.kind !== "invalid") return this.#reference;
    throw this.damaged(`L2 table at 0x${offset.toString(16)}: entry ${entry} is invalid`);
  }

  #changesOf(index: number): BlockChange {
    const present = this.#changesIn(index);
    if (present !== undefined) return present;
    invariant(this.stored.covers(index), "a refcount outside the window changes");
    const block = this.stored.block(index) ?? this.#nothing;
    const created = new BlockChange(block, this.#isFull(block), this.#arrays);
    this.#blocks[index - this.stored.first] = created;
    return created;
  }

  #uncounted(cluster: number): QcowalError {
    return this.damaged(`cluster ${cluster} is in use but its refcount is 0`);
  }

  uncountedBlock(offset: number): QcowalError {
    return this.damaged(`a refcount block at 0x${offset.toString(16)} is in use but its refcount is 0`);
  }

  damaged(what: string): QcowalError {
    return damagedImage(this.#image, what);
  }

  /**
   * The entries of a block that change, as runs.
   * @throws QcowalError REFCOUNT_OVERFLOW, IMAGE_INVALID when a refcount would fall below 0
   */
  changesIn(index: number): BlockChanges {
    const result: BlockChanges = { raise: [], lower: [], freed: [] };
    const base = index * this.#geometry.refcountEntries;
    this.#changesIn(index)?.forEachRun((first, end, from, change) => {
      const to = from + change;
      checkRefcount(this.#image, this.#geometry, base + first, from, to);
      (to > from ? result.raise : result.lower).push([first, end - first, from, to]);
      if (to === 0) result.freed.push([base + first, end - first]);
    });
    return result;
  }
}
