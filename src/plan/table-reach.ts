import { type Geometry, type L2Reference, decodeL2Entry, plainCluster } from "../format/index.ts";

/** Stands for every block behind it: a reference that far leads nowhere. */
const LAST = 0xffff_ffff;

/** Between which refcount blocks the clusters lie that an L2 table refers to. */
export class TableReach {
  readonly #geometry: Geometry;
  readonly #lowest: Uint32Array;
  readonly #highest: Uint32Array;
  readonly #reference: L2Reference = { kind: "none", first: 0, last: 0 };

  constructor(geometry: Geometry, tables: number) {
    this.#geometry = geometry;
    this.#lowest = new Uint32Array(tables).fill(LAST);
    this.#highest = new Uint32Array(tables);
  }

  /** Whether a table refers to a cluster of the blocks from `first` to before `end`. */
  meets(table: number, first: number, end: number): boolean {
    return (this.#lowest[table] ?? 0) < end && (this.#highest[table] ?? 0) >= first;
  }

  note(table: number, words: Uint32Array): void {
    const { clusterBits, l2EntrySize, refcountEntries } = this.#geometry;
    const step = l2EntrySize / 4;
    let lowest = Infinity;
    let highest = -1;
    for (let at = 0; at < words.length; at += step) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      if ((high | low) === 0) continue;
      const cluster = plainCluster(clusterBits, high, low);
      if (cluster > 0) {
        if (cluster < lowest) lowest = cluster;
        if (cluster > highest) highest = cluster;
        continue;
      }
      decodeL2Entry(this.#geometry, high, low, this.#reference);
      const { first, last } = homeOf(this.#reference);
      lowest = Math.min(lowest, first);
      highest = Math.max(highest, last);
    }
    if (highest < 0) return;
    this.#lowest[table] = Math.min(LAST, Math.floor(lowest / refcountEntries));
    this.#highest[table] = Math.min(LAST, Math.floor(highest / refcountEntries));
  }
}

/** Clusters that an entry belongs to; one that refers to none belongs to the first, so that its flag is looked at once. */
export function homeOf({ kind, first, last }: L2Reference): {
  readonly first: number;
  readonly last: number;
} {
  return kind === "standard" || kind === "compressed" ? { first, last } : { first: 0, last: 0 };
}
