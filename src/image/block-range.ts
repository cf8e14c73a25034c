import { type Geometry, type L2Reference, decodeL2Entry, plainCluster } from "../format/index.ts";

/** The first and the last refcount block of the clusters that an L2 table refers to; no first one when there are none. */
export function blockRange(
  geometry: Geometry,
  words: Uint32Array,
): { readonly lowest: number; readonly highest: number } {
  const { clusterBits, l2EntrySize, refcountEntries } = geometry;
  const step = l2EntrySize / 4;
  const reference: L2Reference = { kind: "none", first: 0, last: 0 };
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
    decodeL2Entry(geometry, high, low, reference);
    const { first, last } = homeOf(reference);
    lowest = Math.min(lowest, first);
    highest = Math.max(highest, last);
  }
  return { lowest: Math.floor(lowest / refcountEntries), highest: Math.floor(highest / refcountEntries) };
}

/** Clusters that an entry belongs to; one that refers to none belongs to the first, so that its flag is looked at once. */
export function homeOf({ kind, first, last }: L2Reference): {
  readonly first: number;
  readonly last: number;
} {
  return kind === "standard" || kind === "compressed" ? { first, last } : { first: 0, last: 0 };
}
