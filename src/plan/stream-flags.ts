import { type Geometry, isCompressed, isCopied } from "../format/index.ts";
import { type Image, SortedOffsets, readL1Table, readTables } from "../image/index.ts";
import { unalignedZeros } from "./active-flags.ts";
import { flagsInL2 } from "./copied-intents.ts";
import { FoundFlags } from "./found-flags.ts";
import type { OnWrongFlags } from "./compare-run.ts";

/**
 * COPIED flags of compressed clusters in those of the L2 tables that the active
 * layer does not reach. What a flag says there is of no matter but for compressed
 * clusters, of which it must never be set; of the active layer's tables,
 * `ActiveFlags` says all. With `leavesOut`, entries that read as zeros and keep a
 * cluster at an odd place are left out.
 */
export async function wrongStreamFlags(
  { disk, header }: Image,
  all: SortedOffsets,
  leavesOut: boolean,
  onTable?: () => void,
): Promise<FoundFlags> {
  const { geometry } = header;
  const active = await readL1Table(disk, geometry, { offset: header.l1TableOffset, entries: header.l1Size });
  const { offsets } = all.without(SortedOffsets.of(active.targets));
  const clear = new FoundFlags();
  for await (const table of readTables(disk, offsets, geometry)) {
    onTable?.();
    const { words } = table;
    const without = leavesOut ? unalignedZeros(geometry, words) : undefined;
    const compare = (first: number, end: number, onWrong: OnWrongFlags): void => {
      for (let entry = first; entry < end; entry += 1) {
        if (isFlaggedStream(geometry, words, entry)) onWrong(entry, 1, false);
      }
    };
    flagsInL2(geometry, table, compare, { clear, set: [] }, without);
  }
  return clear;
}

function isFlaggedStream({ l2EntrySize }: Geometry, words: Uint32Array, entry: number): boolean {
  const high = words[(entry * l2EntrySize) / 4] ?? 0;
  return isCompressed(high) && isCopied(high);
}
