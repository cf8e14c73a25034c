import type { RefcountArray } from "../format/index.ts";
import { type BlockChange, isUniform } from "./block-change.ts";

/** Runs that are shorter are looked at entry by entry. */
const LONG_RUN = 16;

/** `count` entries of an L2 table from `first` on should have this flag, and have the other. */
export type OnWrongFlags = (first: number, count: number, flag: boolean) => void;

/** Hears of clusters that nothing would count, or that were free, and may throw. */
export type RefusesCluster = (cluster: number, isCounted: boolean) => void;

/** A run of entries of an L2 table that one refcount block counts, and how its clusters are counted. */
export interface CountedRun {
  readonly stored: RefcountArray;
  /** What changes in the block; undefined for nothing. */
  readonly block: BlockChange | undefined;
  /** Entries of the block: from here to before there. */
  readonly from: number;
  readonly to: number;
  /** The host cluster of the first entry of the block. */
  readonly cluster: number;
  /** What an entry of the block is above that of the table. */
  readonly above: number;
  /** The flag that all of them have. */
  readonly isSet: boolean;
}

/**
 * Compares the COPIED flags of a run with the rule, and tells of all that are
 * wrong in order. Returns how many clusters had other references before, and have none afterwards.
 */
export function compareRun(
  { stored, block, from, to, cluster, above, isSet }: CountedRun,
  onWrong: OnWrongFlags,
  refuses: RefusesCluster,
): number {
  const entries = block?.entries;
  let newlyExclusive = 0;
  for (let part = from; part < to;) {
    const isByRuns = entries === undefined;
    const change = isByRuns ? (block?.at(part) ?? 0) : 0;
    const end = isByRuns ? (block?.alikeUntil(part, to) ?? to) : to;
    const before = stored[part] ?? 0;
    const after = before + change;
    const mayBeUniform = isByRuns && end - part >= LONG_RUN && before > 0 && after > 0;
    if (mayBeUniform && isUniform(stored, part, end)) {
      const flag = after === 1;
      if (flag && before > 1) newlyExclusive += end - part;
      if (flag !== isSet) onWrong(part - above, end - part, flag);
      part = end;
      continue;
    }
    let wrong = part;
    for (let entry = part; entry < end; entry += 1) {
      const was = stored[entry] ?? 0;
      const is = was + (entries?.[entry] ?? change);
      if (is === 0 || was === 0) refuses(cluster + entry, is !== 0);
      const flag = is === 1;
      if (flag && was > 1) newlyExclusive += 1;
      if (flag !== isSet) continue;
      // Those before this one, which is right, are wrong.
      if (entry > wrong) onWrong(wrong - above, entry - wrong, !isSet);
      wrong = entry + 1;
    }
    if (end > wrong) onWrong(wrong - above, end - wrong, !isSet);
    part = end;
  }
  return newlyExclusive;
}
