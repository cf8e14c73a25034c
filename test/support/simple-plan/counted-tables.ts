/** The oracle of src/plan/counted-tables.ts: weighs with a map, and decides no flag before all is counted. */
import type { CountedTables } from "../../../src/plan/counted-tables.ts";
import type { Drafts } from "../../../src/plan/draft.ts";
import type { L1Tables } from "../../../src/plan/l1-tables.ts";
import { SortedOffsets, TableWeights } from "../../../src/image/index.ts";
import { rootWeights } from "../../../src/plan/table-weights.ts";

export async function countedTables({ before, after }: Drafts, tables: L1Tables): Promise<CountedTables> {
  const sums = new Map<number, number>();
  for (const { contents, weight } of rootWeights(before, after)) {
    for (const target of (await tables.read(contents)).targets) {
      if (target !== 0) sums.set(target, (sums.get(target) ?? 0) + weight);
    }
  }
  const changed = [...sums].filter(([, sum]) => sum !== 0).toSorted(([a], [b]) => a - b);
  return {
    roots: [],
    weights: new TableWeights(
      Float64Array.from(changed, ([offset]) => offset),
      Int32Array.from(changed, ([, sum]) => sum),
    ),
    decided: new SortedOffsets(new Float64Array(0)),
  };
}
