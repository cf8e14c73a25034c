import { type Geometry, type L2Reference, decodeL2Entry, plainCluster, plainRun } from "../format/index.ts";

/** The first and the last refcount block of the clusters that an L2 table refers to; no first one when there are none. */
export function blockRange(
  geometry: Geometry,
  words: Uint32Array,
): { readonly lowest: number; readonly highest: number } {
  const { refcountEntries } = geometry;
  let lowest = Infinity;
  let highest = -1;
  forEachRun(geometry, words, (first, last) => {
    if (first < lowest) lowest = first;
    if (last > highest) highest = last;
  });
  return { lowest: Math.floor(lowest / refcountEntries), highest: Math.floor(highest / refcountEntries) };
}

/** The refcount blocks of the clusters that an L2 table refers to. */
export function blocksBelow(geometry: Geometry, words: Uint32Array): ReadonlySet<number> {
  const { refcountEntries } = geometry;
  const blocks = new Set<number>();
  let known = -1;
  forEachRun(geometry, words, (first, last) => {
    const end = Math.floor(last / refcountEntries);
    for (let index = Math.floor(first / refcountEntries); index <= end; index += 1) {
      if (index !== known) blocks.add(index);
      known = index;
    }
  });
  return blocks;
}

/** Calls back for the clusters that entries belong to, those in a row at once. */
function forEachRun(
  geometry: Geometry,
  words: Uint32Array,
  onRun: (first: number, last: number) => void,
): void {
  const { clusterBits, clusterSize, l2EntrySize } = geometry;
  const step = l2EntrySize / 4;
  const reference: L2Reference = { kind: "none", first: 0, last: 0 };
  for (let at = 0; at < words.length;) {
    const high = words[at] ?? 0;
    const low = words[at + 1] ?? 0;
    if ((high | low) === 0) {
      at += step;
      continue;
    }
    const cluster = plainCluster(clusterBits, high, low);
    if (cluster > 0) {
      const count = plainRun(words, at, step, clusterSize, words.length);
      onRun(cluster, cluster + count - 1);
      at += count * step;
      continue;
    }
    decodeL2Entry(geometry, high, low, reference);
    const { first, last } = homeOf(reference);
    onRun(first, last);
    at += step;
  }
}

/** Clusters that an entry belongs to; one that refers to none belongs to the first, so that its flag is looked at once. */
export function homeOf({ kind, first, last }: L2Reference): {
  readonly first: number;
  readonly last: number;
} {
  return kind === "standard" || kind === "compressed" ? { first, last } : { first: 0, last: 0 };
}
