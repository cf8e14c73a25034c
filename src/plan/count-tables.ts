import type { TablePass } from "../image/index.ts";
import { type CopiedSink, copiedInL2 } from "./copied-intents.ts";
import type { CountedTables } from "./counted-tables.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

/** Counts every cluster of the window below the roots that come and go, and decides flags where that is possible. */
export async function countTables(
  pass: TablePass,
  { weights, decided }: CountedTables,
  changes: RefcountChanges,
  result: CopiedSink,
): Promise<void> {
  const { clusterSize } = changes.stored.geometry;
  // The tables themselves first: they lead to each other in no sound image, but a count that comes later decides no flag.
  for (const [index, offset] of weights.tables.offsets.entries()) {
    const cluster = offset / clusterSize;
    if (changes.covers(cluster)) changes.addReferences(cluster, weights.weights[index] ?? 0);
  }
  for await (const { offset, words } of pass.tables(changes.stored)) {
    changes.addL2Table(offset, words, weights.of(offset));
    if (decided.has(offset)) copiedInL2(changes, offset, words, result);
  }
}
