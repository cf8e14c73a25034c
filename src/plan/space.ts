import { QcowalError } from "../errors/index.ts";
import { MAX_REFCOUNT_TABLE_BYTES } from "../format/index.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

/** New place and size of the refcount table, when the old one has too few slots. */
export interface NewRefcountTable {
  readonly offset: number;
  readonly clusters: number;
}

/** Refcount structures that the new clusters make necessary. */
export interface RefcountGrowth {
  /** Host offset of each new refcount block, by table slot. */
  readonly blocks: ReadonlyMap<number, number>;
  readonly table: NewRefcountTable | undefined;
}

/**
 * Hands out free clusters, first fit from the start of the file, and counts them.
 * Free means: refcount 0 today. What this transaction frees still has its old
 * refcount, so it is never handed out: a replay may still read or punch it.
 */
export class Space {
  readonly #changes: RefcountChanges;
  readonly #clusterSize: number;
  #from = 0;
  #end = 0;
  #allocated = 0;

  /** Nothing is handed out below the cluster `from`. */
  constructor(changes: RefcountChanges, from = 0) {
    this.#changes = changes;
    this.#from = from;
    this.#clusterSize = changes.stored.geometry.clusterSize;
  }

  /** Clusters handed out. */
  get allocated(): number {
    return this.#allocated;
  }

  /** Offset of the first byte behind everything handed out; 0 when nothing was. */
  get end(): number {
    return this.#end;
  }

  /** Reserves `count` clusters in a row and returns the host offset of the first; 0 when `count` is 0. */
  allocate(count: number): number {
    if (count === 0) return 0;
    let first = this.#changes.nextFree(this.#from);
    for (let found = 1; found < count;) {
      const next = this.#changes.nextFree(first + found);
      if (next === first + found) found += 1;
      else {
        first = next;
        found = 1;
      }
    }
    if (count === 1) this.#from = first + 1;
    for (let cluster = first; cluster < first + count; cluster += 1) this.#changes.add(cluster, 1);
    this.#allocated += count;
    this.#end = Math.max(this.#end, (first + count) * this.#clusterSize);
    return first * this.#clusterSize;
  }

  #giveBack(offset: number, count: number): void {
    const first = offset / this.#clusterSize;
    for (let cluster = first; cluster < first + count; cluster += 1) this.#changes.add(cluster, -1);
    this.#allocated -= count;
  }

  /**
   * Adds refcount blocks, and a larger refcount table, until every cluster
   * handed out is counted: those included that this very call adds. With
   * `newTable` the stored table is given up, whatever room it has.
   */
  growRefcounts(newTable = false): RefcountGrowth {
    const { table: slots } = this.#changes.stored;
    const blocks = new Map<number, number>();
    let table: NewRefcountTable | undefined;
    for (;;) {
      const missing = this.#changes.blockIndexes.filter((index) => !slots[index] && !blocks.has(index));
      for (const index of missing) blocks.set(index, this.allocate(1));
      const needed = [...blocks.keys()].reduce((most, index) => Math.max(most, index + 1), slots.length);
      const stored = newTable ? 0 : slots.length;
      const present = table === undefined ? stored : (table.clusters * this.#clusterSize) / 8;
      if (needed > present) {
        if (table !== undefined) this.#giveBack(table.offset, table.clusters);
        const clusters = this.#tableClusters(needed);
        table = { clusters, offset: this.allocate(clusters) };
      } else if (missing.length === 0) return { blocks, table };
    }
  }

  /** Half as large again as needed, as QEMU does: growing copies the whole table. */
  #tableClusters(slots: number): number {
    const wanted = Math.min(Math.ceil(slots * 1.5) * 8, MAX_REFCOUNT_TABLE_BYTES);
    if (slots * 8 > MAX_REFCOUNT_TABLE_BYTES) {
      throw new QcowalError(
        "LIMIT_EXCEEDED",
        "The refcount table would exceed 8 MiB, the most that QEMU reads. Nothing was changed.",
      );
    }
    return Math.ceil(wanted / this.#clusterSize);
  }
}
