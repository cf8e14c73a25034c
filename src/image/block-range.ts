import {
  EntryRuns,
  type Geometry,
  type L2Reference,
  type TableEntries,
  decodeL2Entry,
} from "../format/index.ts";

/** The first and the last refcount block of the clusters that an L2 table refers to; no first one when there are none. */
export function blockRange(
  geometry: Geometry,
  table: TableEntries,
): { readonly lowest: number; readonly highest: number } {
  const { refcountEntries } = geometry;
  let lowest = Infinity;
  let highest = -1;
  forEachRun(geometry, table, (first, last) => {
    if (first < lowest) lowest = first;
    if (last > highest) highest = last;
  });
  return { lowest: Math.floor(lowest / refcountEntries), highest: Math.floor(highest / refcountEntries) };
}

/** The refcount blocks of the clusters that an L2 table refers to. */
export function blocksBelow(geometry: Geometry, table: TableEntries): ReadonlySet<number> {
  const { refcountEntries } = geometry;
  const blocks = new Set<number>();
  let known = -1;
  forEachRun(geometry, table, (first, last) => {
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
  table: TableEntries,
  onRun: (first: number, last: number) => void,
): void {
  const reference: L2Reference = { kind: "none", first: 0, last: 0 };
  const runs = new EntryRuns(geometry);
  runs.begin(table);
  while (runs.next()) {
    const { high, low, cluster, count } = runs;
    if (cluster > 0) {
      onRun(cluster, cluster + count - 1);
      continue;
    }
    if ((high | low) === 0) continue;
    decodeL2Entry(geometry, high, low, reference);
    const { first, last } = homeOf(reference);
    onRun(first, last);
  }
}

/** Clusters that an entry belongs to; one that refers to none belongs to the first, so that its flag is looked at once. */
export function homeOf({ kind, first, last }: L2Reference): {
  readonly first: number;
  readonly last: number;
} {
  return kind === "standard" || kind === "compressed" ? { first, last } : { first: 0, last: 0 };
}
