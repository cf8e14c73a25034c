import { QcowalError, invariant } from "../errors/index.ts";
import { type Geometry, type L2Reference, decodeL2Entry } from "../format/index.ts";
import type { Refcounts } from "../image/index.ts";

/**
 * How many references each host cluster gains or loses: flat arrays by refcount
 * block, in the units in which they will be stored. A refcount counts paths from
 * the roots, so a table that gains a root gains one for every cluster below it.
 */
export class RefcountChanges {
  readonly stored: Refcounts;
  readonly #image: string;
  readonly #geometry: Geometry;
  readonly #blocks = new Map<number, Int32Array>();
  readonly #reference: L2Reference = { kind: "none", first: 0, last: 0 };
  #lastIndex = -1;
  #lastBlock: Int32Array = new Int32Array(0);

  constructor(image: string, stored: Refcounts) {
    this.#image = image;
    this.stored = stored;
    this.#geometry = stored.geometry;
  }

  /** Blocks in which something changes, ascending. */
  get blockIndexes(): readonly number[] {
    return [...this.#blocks.keys()].toSorted((a, b) => a - b);
  }

  /** Changes in one block, by entry. */
  block(index: number): Int32Array | undefined {
    return this.#blocks.get(index);
  }

  /** Refcount after the change. Infinity stays what it is: too large to count. */
  after(cluster: number): number {
    const { refcountEntries } = this.#geometry;
    const change = this.#blocks.get(Math.floor(cluster / refcountEntries))?.[cluster % refcountEntries] ?? 0;
    return this.stored.get(cluster) + change;
  }

  /** Changes the references to a cluster that something in the image refers to already. */
  addReferences(cluster: number, weight: number): void {
    if (this.stored.get(cluster) === 0)
      throw this.damaged(`cluster ${cluster} is in use but its refcount is 0`);
    this.add(cluster, weight);
  }

  /** Changes the references to a cluster, also one that was free. */
  add(cluster: number, weight: number): void {
    const { refcountEntries } = this.#geometry;
    const index = Math.floor(cluster / refcountEntries);
    if (index !== this.#lastIndex) {
      this.#lastBlock = this.#blocks.get(index) ?? new Int32Array(refcountEntries);
      this.#blocks.set(index, this.#lastBlock);
      this.#lastIndex = index;
    }
    const entry = cluster % refcountEntries;
    const change = (this.#lastBlock[entry] ?? 0) + weight;
    invariant(change === (change | 0), "a refcount change exceeds 32 bits");
    this.#lastBlock[entry] = change;
  }

  /** Adds `weight` to an L2 table and to every cluster below it. */
  addL2Table(offset: number, words: Uint32Array, weight: number): void {
    const geometry = this.#geometry;
    const reference = this.#reference;
    const step = geometry.l2EntrySize / 4;
    for (let at = 0; at < words.length; at += step) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      if (high === 0 && low === 0) continue;
      decodeL2Entry(geometry, high, low, reference);
      if (reference.kind === "none") continue;
      if (reference.kind === "invalid") {
        throw this.damaged(`L2 table at 0x${offset.toString(16)}: entry ${at / step} is invalid`);
      }
      for (let cluster = reference.first; cluster <= reference.last; cluster += 1) {
        this.addReferences(cluster, weight);
      }
    }
    this.addReferences(offset / geometry.clusterSize, weight);
  }

  /** Entries that change. */
  count(): number {
    let count = 0;
    for (const changes of this.#blocks.values()) for (const change of changes) if (change !== 0) count += 1;
    return count;
  }

  damaged(what: string): QcowalError {
    return new QcowalError(
      "IMAGE_INVALID",
      `${this.#image}: ${what}. Nothing was changed; see 'qemu-img check'.`,
    );
  }

  /**
   * The entries of a block that change, as (entry, from, to) in order.
   * @throws QcowalError REFCOUNT_OVERFLOW, IMAGE_INVALID when a refcount would fall below 0
   */
  *changesIn(index: number): Generator<readonly [entry: number, from: number, to: number]> {
    const changes = this.#blocks.get(index) ?? [];
    const { refcountEntries, refcountMax, refcountOrder } = this.#geometry;
    const base = index * refcountEntries;
    for (let entry = 0; entry < changes.length; entry += 1) {
      const change = changes[entry] ?? 0;
      if (change === 0) continue;
      const from = this.stored.get(base + entry);
      const to = from + change;
      if (!Number.isFinite(from)) {
        throw this.damaged(`the refcount of cluster ${base + entry} is above 2^53, which no image reaches`);
      }
      if (to < 0)
        throw this.damaged(`the refcount ${from} of cluster ${base + entry} is lower than its references`);
      if (to > refcountMax) {
        throw new QcowalError(
          "REFCOUNT_OVERFLOW",
          `${this.#image}: cluster ${base + entry} would get refcount ${to}, but its ${2 ** refcountOrder}-bit refcounts end at ${refcountMax}. Nothing was changed; delete a snapshot, or widen the refcounts ('qemu-img amend -o refcount_bits=16').`,
        );
      }
      yield [entry, from, to];
    }
  }
}
