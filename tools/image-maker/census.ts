import type { Layout } from "./layout.ts";
import type { Entry, Model, Root, Run } from "./model.ts";

/** References per host cluster, counted path by path from every root, as the format defines refcounts. */
export function census(model: Model, layout: Layout): Float64Array {
  const counts = new Float64Array(layout.total);
  const add = (first: number, clusters: number): void => {
    for (let i = first; i < first + clusters; i++) counts[i] = (counts[i] ?? 0) + 1;
  };
  const addRun = ({ first, clusters }: Run): void => add(first, clusters);

  add(0, 1);
  addRun(layout.refcountTable);
  layout.refcountBlocks.forEach(addRun);
  addRun(layout.snapshotTable);
  if (layout.bitmap !== null) {
    addRun(layout.bitmap.directory);
    addRun(layout.bitmap.table);
    layout.bitmap.data.forEach(addRun);
  }
  const addEntry = (entry: Entry): void => {
    if (entry.kind === "host") addRun(entry.run);
    if (entry.kind === "compressed") {
      const { first, last } = compressedClusters(entry, model.clusterSize);
      add(first, last - first + 1);
    }
  };
  const addRoot = (root: Root): void => {
    addRun(root.l1);
    for (const table of root.slots.values()) {
      addRun(table.run);
      for (const entry of table.entries.values()) addEntry(entry);
    }
  };
  addRoot(model.active);
  model.snapshots.forEach(addRoot);
  return counts;
}

export function compressedClusters(
  entry: Extract<Entry, { kind: "compressed" }>,
  clusterSize: number,
): { first: number; last: number; offset: number } {
  const offset = entry.run.first * clusterSize + entry.start;
  const end = (Math.floor(offset / 512) + entry.sectors) * 512;
  return { first: Math.floor(offset / clusterSize), last: Math.floor((end - 1) / clusterSize), offset };
}
