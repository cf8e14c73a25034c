/** The oracle of src/plan/copied-flags.ts: looks at every table that the active layer reaches. */
import { type Image, readTables } from "../../../src/image/index.ts";
import { type CopiedIntents, copiedInL1, copiedInL2 } from "../../../src/plan/copied-intents.ts";
import type { Drafts } from "../../../src/plan/draft.ts";
import type { L1Tables } from "../../../src/plan/l1-tables.ts";
import type { RefcountChanges } from "../../../src/plan/refcount-changes.ts";

export async function copiedIntents(
  { disk, header }: Image,
  { after }: Drafts,
  tables: L1Tables,
  changes: RefcountChanges,
): Promise<CopiedIntents> {
  const result: CopiedIntents = { clear: [], set: [] };
  const l1 = await tables.read(after.active.contents);
  if (after.active.stored) copiedInL1(changes, l1, result);
  for (const target of new Set(l1.targets)) {
    if (target === 0) continue;
    for await (const { offset, words } of readTables(disk, [target], header.geometry.clusterSize)) {
      copiedInL2(changes, offset, words, result);
    }
  }
  return result;
}
