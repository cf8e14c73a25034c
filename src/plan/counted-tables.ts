import { type L1Table, SortedOffsets, type TableWeights } from "../image/index.ts";
import { type Drafts, isSharedByTable } from "./draft.ts";
import type { L1Tables } from "./l1-tables.ts";
import { type RootWeight, l2Weights, rootWeights } from "./table-weights.ts";

/** What has to be counted: everything below the roots that come and go. */
export interface CountedTables {
  /** L1 tables whose contents are used more or less often than before. */
  readonly roots: readonly (RootWeight & { readonly table: L1Table })[];
  /** Net change in the paths to each L2 table that has to be read. */
  readonly weights: TableWeights;
  /**
   * Tables whose COPIED flags are decided while they are counted, and which need
   * not be read again: none keeps a flag. Where no root goes, a refcount can only
   * grow, and of their clusters it grows from 1 at least. Where a snapshot has the
   * very table of the disk, both lead to each cluster.
   */
  readonly decided: SortedOffsets;
}

export async function countedTables({ before, after }: Drafts, tables: L1Tables): Promise<CountedTables> {
  const roots = [];
  for (const root of rootWeights(before, after)) {
    roots.push({ ...root, table: await tables.read(root.contents) });
  }
  const weights = l2Weights(roots);
  const isDecided = roots.every(({ weight }) => weight > 0) || isSharedByTable(after);
  const active = (await tables.read(after.active.contents)).targets;
  const decided = SortedOffsets.of(isDecided ? active : new Float64Array(0)).and(weights.tables);
  return { roots, weights, decided };
}
