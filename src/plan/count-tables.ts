import { type Image, type L1Table, readTables } from "../image/index.ts";
import { type CopiedIntents, copiedInL2 } from "./copied-intents.ts";
import type { Drafts } from "./draft.ts";
import type { L1Tables } from "./l1-tables.ts";
import type { RefcountChanges } from "./refcount-changes.ts";
import { type RootWeight, l2Weights, rootWeights } from "./table-weights.ts";

export interface CountedTables {
  /** L1 tables whose contents are used more or less often than before. */
  readonly roots: readonly (RootWeight & { readonly table: L1Table })[];
  /** Net change in the paths to each L2 table that had to be read, by its host offset. */
  readonly weights: ReadonlyMap<number, number>;
  /** COPIED flags that were decided while the tables were counted, and the tables that this is true of. */
  readonly copied: CopiedIntents;
  readonly decided: ReadonlySet<number>;
}

/**
 * Counts every cluster below the roots that come and go. Where no root goes,
 * a refcount can only grow further, so that what it is now decides the COPIED
 * flags: these tables need not be read again.
 */
export async function countTables(
  image: Image,
  { before, after }: Drafts,
  tables: L1Tables,
  changes: RefcountChanges,
  { onTable }: { readonly onTable?: (() => void) | undefined },
): Promise<CountedTables> {
  const roots = [];
  for (const root of rootWeights(before, after))
    roots.push({ ...root, table: await tables.read(root.contents) });
  const weights = l2Weights(roots);
  const onlyGrows = roots.every(({ weight }) => weight > 0);
  const active = new Set(onlyGrows ? (await tables.read(after.active.contents)).targets : []);
  const decided = new Set<number>();
  const copied: CopiedIntents = { clear: [], set: [] };
  const offsets = [...weights.keys()].toSorted((a, b) => a - b);
  for await (const { offset, words } of readTables(image.disk, offsets, image.header.geometry.clusterSize)) {
    onTable?.();
    changes.addL2Table(offset, words, weights.get(offset) ?? 0);
    if (!active.has(offset)) continue;
    copiedInL2(changes, offset, words, copied);
    decided.add(offset);
  }
  return { roots, weights, copied, decided };
}
