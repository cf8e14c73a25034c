import { QcowalError } from "../errors/index.ts";
import { MAX_REFCOUNT_TABLE_BYTES } from "../format/index.ts";
import type { RefcountTable } from "../image/index.ts";
import { ClusterSet } from "./cluster-set.ts";

/** Where a search for free clusters goes on. */
export interface FreeClusters {
  /** The first cluster from `cluster` on that nothing refers to. */
  nextFree(cluster: number): number | Promise<number>;
}

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
 * Hands out free clusters, the first that is found. Free means:
 * refcount 0 today. What this transaction frees still has its old refcount, so
 * it is never handed out: a replay may still read or punch it.
 */
export class Space {
  readonly #free: FreeClusters;
  readonly #stored: RefcountTable;
  readonly #clusterSize: number;
  readonly #taken = new ClusterSet();
  #from = 0;
  #end = 0;

  /** Nothing is handed out below the cluster `from`. */
  constructor(free: FreeClusters, stored: RefcountTable, from = 0) {
    this.#free = free;
    this.#stored = stored;
    this.#from = from;
    this.#clusterSize = stored.geometry.clusterSize;
  }

  /** Clusters handed out; each has one reference. */
  get taken(): Pick<ClusterSet, "has" | "size" | typeof Symbol.iterator> {
    return this.#taken;
  }

  /** Offset of the first byte behind everything handed out; 0 when nothing was. */
  get end(): number {
    return this.#end;
  }

  /** Reserves `count` clusters in a row and returns the host offset of the first; 0 when `count` is 0. */
  async allocate(count: number): Promise<number> {
    if (count === 0) return 0;
    let first = await this.#nextFree(this.#from);
    for (let found = 1; found < count;) {
      const next = await this.#nextFree(first + found);
      if (next === first + found) found += 1;
      else {
        first = next;
        found = 1;
      }
    }
    if (count === 1) this.#from = first + 1;
    for (let cluster = first; cluster < first + count; cluster += 1) this.#taken.add(cluster);
    this.#end = Math.max(this.#end, (first + count) * this.#clusterSize);
    return first * this.#clusterSize;
  }

  async #nextFree(from: number): Promise<number> {
    let cluster = await this.#free.nextFree(from);
    while (this.#taken.has(cluster)) cluster = await this.#free.nextFree(cluster + 1);
    return cluster;
  }

  #giveBack(offset: number, count: number): void {
    const first = offset / this.#clusterSize;
    for (let cluster = first; cluster < first + count; cluster += 1) this.#taken.delete(cluster);
  }

  /**
   * Adds refcount blocks, and a larger refcount table, until every cluster
   * handed out is counted: those included that this very call adds. `missing`
   * are blocks that have to be added in any case. With `newTable` the stored
   * table is given up, whatever room it has.
   */
  async growRefcounts({
    missing = [],
    newTable = false,
  }: {
    readonly missing?: readonly number[];
    readonly newTable?: boolean;
  } = {}): Promise<RefcountGrowth> {
    const { table: slots } = this.#stored;
    const blocks = new Map<number, number>();
    let table: NewRefcountTable | undefined;
    for (;;) {
      const added = this.#uncounted(missing).filter((index) => !blocks.has(index));
      for (const index of added) blocks.set(index, await this.allocate(1));
      const needed = [...blocks.keys()].reduce((most, index) => Math.max(most, index + 1), slots.length);
      const stored = newTable ? 0 : slots.length;
      const present = table === undefined ? stored : (table.clusters * this.#clusterSize) / 8;
      if (needed > present) {
        if (table !== undefined) this.#giveBack(table.offset, table.clusters);
        const clusters = this.#tableClusters(needed);
        table = { clusters, offset: await this.allocate(clusters) };
      } else if (added.length === 0) return { blocks, table };
    }
  }

  /** Refcount blocks that are not stored and have something to count, ascending. */
  #uncounted(missing: readonly number[]): number[] {
    const { geometry, table } = this.#stored;
    const indexes = new Set(missing);
    for (const cluster of this.#taken) indexes.add(Math.floor(cluster / geometry.refcountEntries));
    return [...indexes].filter((index) => !table[index]).toSorted((a, b) => a - b);
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
