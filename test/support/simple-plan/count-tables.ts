/** The oracle of src/plan/count-tables.ts: counts, and decides nothing on the way. */
import { type Image, readTables } from "../../../src/image/index.ts";
import type { CountedTables } from "../../../src/plan/count-tables.ts";
import type { Drafts } from "../../../src/plan/draft.ts";
import type { L1Tables } from "../../../src/plan/l1-tables.ts";
import { l2Weights, rootWeights } from "../../../src/plan/table-weights.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

export async function countTables(
  { disk, header }: Image,
  { before, after }: Drafts,
  tables: L1Tables,
  changes: RefcountChanges,
): Promise<CountedTables> {
  const roots = [];
  for (const root of rootWeights(before, after)) {
    roots.push({ ...root, table: await tables.read(root.contents) });
  }
  const weights = l2Weights(roots);
  for (const [target, weight] of weights) {
    for await (const { offset, words } of readTables(disk, [target], header.geometry.clusterSize)) {
      changes.addL2Table(offset, words, weight);
    }
  }
  return { roots, weights, copied: { clear: [], set: [] }, decided: new Set() };
}
