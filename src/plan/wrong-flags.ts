import { type Image, readL1Table, readTables } from "../image/index.ts";
import { type CopiedIntents, copiedInL1, copiedInL2, decideL1Flags } from "./copied-intents.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

/** COPIED flags of the active layer that do not say what the refcounts will. Of some L2 tables there are entries to leave out. */
export async function wrongFlags(
  { disk, header }: Image,
  changes: RefcountChanges,
  without: ReadonlyMap<number, readonly number[]>,
  onTable?: () => void,
): Promise<CopiedIntents> {
  const { geometry } = header;
  const result: CopiedIntents = { clear: [], set: [] };
  const l1 = await readL1Table(disk, geometry, { offset: header.l1TableOffset, entries: header.l1Size });
  const flags = new Uint8Array(l1.entries);
  decideL1Flags(changes, l1, flags);
  copiedInL1(geometry, l1, flags, result);
  const targets = [...new Set(l1.targets)].filter((target) => target !== 0).toSorted((a, b) => a - b);
  for await (const { offset, words } of readTables(disk, targets, geometry.clusterSize)) {
    onTable?.();
    copiedInL2(changes, offset, words, result, without.get(offset));
  }
  return result;
}
