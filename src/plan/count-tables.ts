import type { TablePass } from "../image/index.ts";
import { type CopiedSink, clearedInL2 } from "./copied-intents.ts";
import type { CountedTables } from "./counted-tables.ts";
import type { NeededBlocks } from "./needed-blocks.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

/** Counts every cluster of the window below the roots that come and go, and decides flags where that is possible. */
export async function countTables(
  pass: TablePass,
  { weights, decided }: CountedTables,
  changes: RefcountChanges,
  blocks: NeededBlocks,
  result: CopiedSink,
): Promise<void> {
  const { geometry } = changes.stored;
  const { clusterSize } = geometry;
  await blocks.ofClusters(weights.tables.offsets);
  // The tables themselves first: they lead to each other in no sound image, but a count that comes later decides no flag.
  for (const [index, offset] of weights.tables.offsets.entries()) {
    const cluster = offset / clusterSize;
    if (changes.covers(cluster)) changes.addReferences(cluster, weights.weights[index] ?? 0);
  }
  for await (const table of pass.tables(changes.stored)) {
    const { offset } = table;
    if (!blocks.isComplete) await blocks.below(table);
    const flags = changes.addL2Table(offset, table, weights.of(offset));
    // The first window sees every table, and what it decides holds for the entries that lead into others too.
    if (changes.stored.first > 0 || flags === "no flags" || !decided.has(offset)) continue;
    clearedInL2(geometry, table, flags === "all flags", result);
  }
}
