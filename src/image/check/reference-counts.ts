import type { Geometry } from "../../format/index.ts";

/** Who has a cluster. Data may share with data and compressed streams with each other; all others share with nobody. */
export const OWNER = { metadata: 1, l2Table: 2, data: 3, compressed: 4 } as const;
export type Owner = (typeof OWNER)[keyof typeof OWNER];
export const SHARED_WRONGLY = 0x80;

/** Counting stops here; no refcount that is stored exactly can be larger and right. */
export const MAX_COUNT = 2 ** 32 - 1;
const SECTOR = 512;

/** What is counted of the clusters of one refcount block, by entry. */
export interface CountedBlock {
  readonly counts: Uint32Array;
  /** An `Owner`, or 0 for none; 0x80 and more: it belongs to two that must not share it. */
  readonly owners: Uint8Array;
}

/**
 * References per host cluster, counted by the rules of `qemu-img check` from
 * tables that may say anything. Flat arrays by refcount block, made where
 * something is counted: a table that points far away costs one block.
 */
export class ReferenceCounts {
  readonly geometry: Geometry;
  /** QEMU sees a file in whole sectors. */
  readonly fileLength: number;
  /** Clusters that are compared. The last may lie behind the end of the file, if only in part. */
  clusters: number;
  /** Told of a cluster that two have that must not share it. */
  readonly #onShared: (cluster: number, one: Owner, other: Owner) => void;
  readonly #blocks = new Map<number, CountedBlock>();
  #lastIndex = -1;
  #lastBlock: CountedBlock = { counts: new Uint32Array(0), owners: new Uint8Array(0) };

  constructor(
    geometry: Geometry,
    fileSize: number,
    onShared: (cluster: number, one: Owner, other: Owner) => void = () => undefined,
  ) {
    this.#onShared = onShared;
    this.geometry = geometry;
    this.fileLength = Math.ceil(fileSize / SECTOR) * SECTOR;
    this.clusters = Math.ceil(this.fileLength / geometry.clusterSize);
  }

  get blockIndexes(): readonly number[] {
    return [...this.#blocks.keys()];
  }

  /** References of the clusters of one refcount block, by entry; undefined without any. */
  counts(index: number): Uint32Array | undefined {
    return this.#blocks.get(index)?.counts;
  }

  /** The same with the owners. */
  block(index: number): CountedBlock | undefined {
    return this.#blocks.get(index);
  }

  /** The same, made when there are none yet. */
  ownBlock(index: number): CountedBlock {
    if (index === this.#lastIndex) return this.#lastBlock;
    const { refcountEntries } = this.geometry;
    this.#lastBlock = this.#blocks.get(index) ?? {
      counts: new Uint32Array(refcountEntries),
      owners: new Uint8Array(refcountEntries),
    };
    this.#blocks.set(index, this.#lastBlock);
    this.#lastIndex = index;
    return this.#lastBlock;
  }

  /**
   * `weight` references to every cluster of a range. False, and nothing is
   * counted, when it ends a cluster or more behind the end of the file: less is
   * what the last structure of a file that was not padded looks like.
   */
  claim(offset: number, length: number, weight: number, owner: Owner): boolean {
    if (length <= 0) return true;
    const { clusterSize } = this.geometry;
    if (offset + length - this.fileLength >= clusterSize) return false;
    const last = Math.floor((offset + length - 1) / clusterSize);
    for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster += 1) {
      this.add(cluster, weight, owner);
    }
    return true;
  }

  /** References of one cluster, as many as the refcount's width can say. */
  get(cluster: number): number {
    const { refcountEntries, refcountMax } = this.geometry;
    const count = this.counts(Math.floor(cluster / refcountEntries))?.[cluster % refcountEntries] ?? 0;
    return Math.min(count, refcountMax);
  }

  /** `weight` references to a cluster, wherever it is. */
  add(cluster: number, weight: number, owner: Owner): void {
    const { refcountEntries } = this.geometry;
    const { counts, owners } = this.ownBlock(Math.floor(cluster / refcountEntries));
    if (cluster >= this.clusters) this.clusters = cluster + 1;
    const entry = cluster % refcountEntries;
    const other = owners[entry] ?? 0;
    if (other === 0) owners[entry] = owner === OWNER.metadata && weight > 1 ? owner | SHARED_WRONGLY : owner;
    else if (other !== owner || owner < OWNER.data) {
      owners[entry] = other | SHARED_WRONGLY;
      this.#onShared(cluster, (other & ~SHARED_WRONGLY) as Owner, owner);
    }
    counts[entry] = Math.min((counts[entry] ?? 0) + weight, MAX_COUNT);
  }
}
