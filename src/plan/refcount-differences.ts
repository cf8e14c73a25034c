import type { Census, Refcounts } from "../image/index.ts";
import { type DifferenceTotals } from "./difference-totals.ts";
import { RefcountChanges } from "./refcount-changes.ts";

/** In which direction refcounts may change. */
export interface AllowedChanges {
  readonly raise: boolean;
  readonly lower: boolean;
}

/** Largest difference that is counted. */
export const MAX_DIFFERENCE = 2 ** 31 - 1;

/**
 * Compares every stored refcount of a window with the census, behind the end of
 * the file too. Where no block is stored, every reference is one that is not
 * counted. Returns what makes them agree, as far as it is allowed: of a window that
 * is shorter where more than `mostBlocks` blocks change.
 */
export function refcountDifferences(
  path: string,
  census: Census,
  refcounts: Refcounts,
  allowed: AllowedChanges,
  totals: DifferenceTotals,
  changes: RefcountChanges = new RefcountChanges(path, refcounts),
  mostBlocks = Infinity,
): RefcountChanges {
  const { refcountEntries } = census.geometry;
  const scratch = new Uint32Array(refcountEntries);
  const nothing = new Uint8Array(refcountEntries);
  let changing = 0;
  for (const index of blocksOf(census, refcounts)) {
    const counts = census.counts(index, scratch);
    if (counts === undefined && refcounts.isBlank(index)) continue;
    const block = refcounts.block(index);
    const stored = block ?? nothing;
    const references = counts ?? nothing;
    if (changing >= mostBlocks && stored.some((refcount, entry) => refcount !== references[entry])) {
      changes.shorten({ first: refcounts.first, end: index });
      return changes;
    }
    let isChanging = false;
    for (let entry = 0; entry < refcountEntries; entry += 1) {
      const refcount = stored[entry] ?? 0;
      const count = references[entry] ?? 0;
      if (refcount === 0 && count === 0) continue;
      const cluster = index * refcountEntries + entry;
      totals.free.use(cluster);
      if (refcount === count) continue;
      const difference = count - refcount;
      if (difference > 0 ? !allowed.raise : !allowed.lower) {
        totals.left[difference > 0 ? "tooLow" : "tooHigh"] += 1;
        continue;
      }
      if (Math.abs(difference) > MAX_DIFFERENCE) {
        census.find(`the refcount of cluster ${cluster} is too far off to be changed (${refcount})`);
        continue;
      }
      changes.add(cluster, difference);
      isChanging = true;
      totals.add(cluster, block === undefined ? undefined : refcount, count);
    }
    if (!isChanging) continue;
    changing += 1;
    if (block === undefined) totals.addMissing(index);
  }
  return changes;
}

/** Blocks of the window that are stored or in which something is counted, ascending. */
function* blocksOf(census: Census, { table, first, end }: Refcounts): Generator<number> {
  const counted = census.blockIndexes;
  const slots = Math.min(end, table.length);
  let slot = first;
  for (const index of counted) {
    if (index < first) continue;
    if (index >= end) break;
    for (; slot < Math.min(index, slots); slot += 1) if (table[slot] !== 0) yield slot;
    yield index;
    slot = index + 1;
  }
  for (; slot < slots; slot += 1) if (table[slot] !== 0) yield slot;
}
