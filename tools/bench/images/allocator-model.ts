/**
 * What QEMU's allocator makes of a sequence of guest writes and snapshots,
 * in memory and without data: clusters come from the end of the file in the
 * order in which they are needed, an L2 table or refcount block when its first
 * entry is. So the layout of the file, and with it the cost of every pass over
 * the metadata, is that of an image which a guest has filled in this order.
 */

const REFCOUNT_BYTES = 2;

/** An L2 table: the host cluster of each guest cluster, 0 for none. */
export interface ModelTable {
  readonly host: number;
  readonly targets: Uint32Array;
}

export interface ModelSnapshot {
  readonly name: string;
  readonly l1Host: number;
  readonly tables: readonly (ModelTable | undefined)[];
}

export class AllocatorModel {
  readonly clusterBits: number;
  // Fields, not getters: each write asks for them, and a disk has a quarter of a billion.
  readonly clusterSize: number;
  readonly refcountsPerBlock: number;
  readonly #perTable: number;
  /** Guest clusters of the disk. */
  readonly guestClusters: number;
  readonly refcountTableHost: number;
  readonly refcountTableClusters: number;
  readonly l1Host: number;
  /** Host cluster of each refcount block. */
  readonly refcountBlocks: number[] = [];
  readonly snapshots: ModelSnapshot[] = [];
  snapshotTable = { host: 0, clusters: 0 };
  #active: (ModelTable | undefined)[];
  #refcounts = new Uint16Array(2 ** 16);
  #end = 0;

  /** `spare`: how many clusters the file may grow to, as a multiple of the guest's; sizes the refcount table. */
  constructor(virtualSize: number, clusterBits: number, spare = 4) {
    this.clusterBits = clusterBits;
    this.clusterSize = 2 ** clusterBits;
    this.refcountsPerBlock = this.clusterSize / REFCOUNT_BYTES;
    this.#perTable = this.clusterSize / 8;
    this.guestClusters = Math.ceil(virtualSize / this.clusterSize);
    this.#active = Array.from({ length: Math.ceil(this.guestClusters / this.#perTable) });
    const blocks = Math.ceil((this.guestClusters * spare) / this.refcountsPerBlock) + 1;
    this.refcountTableClusters = Math.ceil((blocks * 8) / this.clusterSize);
    this.#take(1);
    this.refcountTableHost = this.#take(this.refcountTableClusters);
    this.l1Host = this.#take(this.l1Clusters);
  }

  get l1Entries(): number {
    return this.#active.length;
  }

  get l1Clusters(): number {
    return Math.max(1, Math.ceil((this.#active.length * 8) / this.clusterSize));
  }

  get active(): readonly (ModelTable | undefined)[] {
    return this.#active;
  }

  /** Clusters of the file. */
  get end(): number {
    return this.#end;
  }

  refcount(host: number): number {
    return this.#refcounts[host] ?? 0;
  }

  /** A guest writes to a cluster: in place where it alone holds it, else to a new one. */
  write(guest: number): void {
    const table = this.#tableFor(Math.floor(guest / this.#perTable));
    const entry = guest % this.#perTable;
    const target = table.targets[entry] ?? 0;
    if (target !== 0 && this.refcount(target) === 1) return;
    if (target !== 0) this.#count(target, -1);
    table.targets[entry] = this.#take(1);
  }

  snapshot(name: string): void {
    for (const table of this.#active) {
      if (table === undefined) continue;
      this.#count(table.host, 1);
      for (const target of table.targets) if (target !== 0) this.#count(target, 1);
    }
    this.snapshots.push({ name, l1Host: this.#take(this.l1Clusters), tables: [...this.#active] });
  }

  /** Makes room for the snapshot table; the model is complete. */
  finish(snapshotTableBytes: number): void {
    const clusters = Math.ceil(snapshotTableBytes / this.clusterSize);
    if (clusters > 0) this.snapshotTable = { host: this.#take(clusters), clusters };
  }

  #tableFor(index: number): ModelTable {
    const table = this.#active[index];
    if (table !== undefined && this.refcount(table.host) === 1) return table;
    if (table !== undefined) this.#count(table.host, -1);
    // Copy on write of a table changes no refcount below it: the paths move, their number stays.
    const own = { host: this.#take(1), targets: table?.targets.slice() ?? new Uint32Array(this.#perTable) };
    this.#active[index] = own;
    return own;
  }

  #count(host: number, by: number): void {
    this.#refcounts[host] = this.refcount(host) + by;
  }

  /** Clusters in a row from the end of the file, with the refcount blocks that they need before them. */
  #take(count: number): number {
    for (let needed = this.#blocksNeeded(count); this.refcountBlocks.length < needed;) {
      this.refcountBlocks.push(this.#append(1));
      needed = this.#blocksNeeded(count);
    }
    return this.#append(count);
  }

  #blocksNeeded(count: number): number {
    // Cluster 0 is the header's: before it there is no block yet.
    return this.#end === 0 ? 0 : Math.ceil((this.#end + count) / this.refcountsPerBlock);
  }

  #append(count: number): number {
    const first = this.#end;
    this.#end += count;
    if (this.#end > this.#refcounts.length) {
      const grown = new Uint16Array(Math.max(this.#end, this.#refcounts.length * 2));
      grown.set(this.#refcounts);
      this.#refcounts = grown;
    }
    if (count === 1) this.#refcounts[first] = 1;
    else this.#refcounts.fill(1, first, this.#end);
    return first;
  }
}
