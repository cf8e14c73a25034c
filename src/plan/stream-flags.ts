import { type Geometry, isCompressed, isCopied } from "../format/index.ts";
import { type Image, type L1Location, readL1Table, readTables } from "../image/index.ts";
import type { CopiedIntent } from "../intent/index.ts";
import { flagsInL2 } from "./copied-intents.ts";
import { SortedOffsets } from "./sorted-offsets.ts";

/**
 * COPIED flags of compressed clusters in L2 tables that only these snapshots
 * reach. What a flag says there is of no matter but for compressed clusters, of
 * which it must never be set; of the active layer's tables, `wrongFlags` says
 * all. Of some tables there are entries to leave out.
 */
export async function wrongStreamFlags(
  { disk, header }: Image,
  snapshots: readonly L1Location[],
  without: ReadonlyMap<number, readonly number[]>,
  onTable?: () => void,
): Promise<CopiedIntent[]> {
  const { geometry } = header;
  const tablesOf = async (l1: L1Location): Promise<SortedOffsets> =>
    SortedOffsets.of((await readL1Table(disk, geometry, l1)).targets);
  const active = await tablesOf({ offset: header.l1TableOffset, entries: header.l1Size });
  let tables = new SortedOffsets(new Float64Array(0));
  for (const l1 of snapshots) tables = tables.with((await tablesOf(l1)).without(active));
  const clear: CopiedIntent[] = [];
  for await (const { offset, words } of readTables(disk, tables.offsets, geometry.clusterSize)) {
    onTable?.();
    flagsInL2(
      geometry,
      offset,
      words,
      (first, end, onWrong) => {
        for (let entry = first; entry < end; entry += 1) {
          if (isFlaggedStream(geometry, words, entry)) onWrong(entry, false);
        }
      },
      { clear, set: [] },
      without.get(offset),
    );
  }
  return clear;
}

function isFlaggedStream({ l2EntrySize }: Geometry, words: Uint32Array, entry: number): boolean {
  const high = words[(entry * l2EntrySize) / 4] ?? 0;
  return isCompressed(high) && isCopied(high);
}
