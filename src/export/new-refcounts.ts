import type { Geometry } from "../format/index.ts";

/** Writes a refcount block at a cluster of its own. */
export type PlaceBlock = (bytes: Uint8Array) => Promise<number>;

/**
 * Counts the references of an image that is written from its begin to its end. What one
 * refcount block counts is held only until the file has grown past it: 2 GiB in
 * clusters of 64 KiB.
 */
export class NewRefcounts {
  readonly #entries: number;
  readonly #clusterSize: number;
  /** Counts by number of the refcount block. */
  readonly #open = new Map<number, Uint16Array>();
  /** Where each block that was written lies. */
  readonly #offsets: number[] = [];

  /** For refcounts of 16 bits. */
  constructor(geometry: Geometry) {
    this.#entries = geometry.refcountEntries;
    this.#clusterSize = geometry.clusterSize;
  }

  add(cluster: number): void {
    const index = Math.floor(cluster / this.#entries);
    let counts = this.#open.get(index);
    if (counts === undefined) this.#open.set(index, (counts = new Uint16Array(this.#entries)));
    const at = cluster % this.#entries;
    counts[at] = (counts[at] ?? 0) + 1;
  }

  /** First cluster that is counted by no block that was written. */
  get openFrom(): number {
    return this.#offsets.length * this.#entries;
  }

  /** Writes the blocks of what lies wholly before `cluster`, which nobody adds to any more. */
  async close(cluster: () => number, place: PlaceBlock): Promise<void> {
    while (cluster() >= this.openFrom + this.#entries) {
      const index = this.#offsets.length;
      // Its own place is counted by a later block, because it lies behind all that this one counts.
      this.#offsets.push(await place(this.#block(index)));
    }
  }

  /** Clusters of the table, and of the blocks that are not written yet, when they are put at `cluster`. */
  tail(cluster: number): { readonly blocks: number; readonly tableClusters: number } {
    let [blocks, tableClusters] = [0, 0];
    for (let end = cluster; ;) {
      const all = Math.ceil(end / this.#entries);
      blocks = all - this.#offsets.length;
      tableClusters = Math.ceil((all * 8) / this.#clusterSize);
      const next = cluster + blocks + tableClusters;
      if (next === end) return { blocks, tableClusters };
      end = next;
    }
  }

  /** Writes what is left, the blocks from `cluster` on and the table behind them. */
  async finish(
    cluster: number,
    write: (cluster: number, bytes: Uint8Array) => Promise<void>,
  ): Promise<{ readonly offset: number; readonly clusters: number }> {
    const { blocks, tableClusters } = this.tail(cluster);
    const tableAt = cluster + blocks;
    for (let at = cluster; at < tableAt + tableClusters; at += 1) this.add(at);
    for (let at = cluster; at < tableAt; at += 1) {
      const index = this.#offsets.length;
      this.#offsets.push(at * this.#clusterSize);
      await write(at, this.#block(index));
    }
    const table = new DataView(new ArrayBuffer(tableClusters * this.#clusterSize));
    for (const [index, offset] of this.#offsets.entries()) table.setBigUint64(index * 8, BigInt(offset));
    await write(tableAt, new Uint8Array(table.buffer));
    return { offset: tableAt * this.#clusterSize, clusters: tableClusters };
  }

  #block(index: number): Uint8Array {
    const counts = this.#open.get(index) ?? new Uint16Array(this.#entries);
    this.#open.delete(index);
    return Buffer.from(counts.buffer).swap16();
  }
}
