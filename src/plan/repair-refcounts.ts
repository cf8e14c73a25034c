import {
  type Census,
  type Image,
  type RefcountTable,
  type RefcountWindows,
  type Refcounts,
  windowsInto,
} from "../image/index.ts";
import { BYTES_PER_COUNT } from "./counted-window.ts";
import { MAX_DIFFERENCE } from "./refcount-differences.ts";
import type { RepairOptions } from "./repair-options.ts";
import type { StoredTable } from "./stored-table.ts";

/** The refcount structures as far as they can be believed. */
export interface BelievedRefcounts {
  readonly windows: RefcountWindows;
  /** Slots of the table whose block cannot be believed; their blocks are written anew. */
  readonly damagedSlots: number;
  /** A new table has to be written: the stored one, or a slot of it, cannot be believed. */
  readonly newTable: boolean;
  /** True while the clusters of the stored table are its own. */
  readonly tableCounted: boolean;
  /** The first of what is wrong, in words. */
  readonly findings: readonly string[];
  /** How much is. */
  readonly wrong: number;
}

/**
 * Tells which refcount structures have their clusters for themselves, and counts
 * them in the census, which watched those clusters and holds everything else: a
 * block or table in the place of something else cannot be believed, because that
 * something was written over it, or will be.
 */
export async function believedRefcounts(
  image: Image,
  census: Census,
  { stored, isInFile, damaged, clusters }: StoredTable,
  { onTable, windowBytes }: RepairOptions = {},
): Promise<BelievedRefcounts> {
  const { disk, header } = image;
  const { geometry, refcountTableOffset } = header;
  const windowsOf = (table: RefcountTable): RefcountWindows =>
    windowsInto(disk, table, { perEntry: BYTES_PER_COUNT, bytes: windowBytes, onBlock: onTable });
  if (!isInFile || clusters.some((offset) => offset === 0 || census.isUsed(offset))) {
    return {
      windows: windowsOf({ ...stored, table: new Float64Array(stored.table.length) }),
      damagedSlots: 0,
      newTable: true,
      tableCounted: false,
      findings: [
        header.rescued?.refcountTable ??
          `the refcount table at 0x${refcountTableOffset.toString(16)} lies in the place of something else, or behind the end of the file`,
      ],
      wrong: 1,
    };
  }
  const { clusterSize } = geometry;
  const isOfTable = (offset: number): boolean =>
    offset >= refcountTableOffset && offset < refcountTableOffset + clusters.length * clusterSize;
  const { table } = stored;
  const judge = (slot: number, refcounts?: Refcounts): void => {
    const offset = table[slot] ?? 0;
    if (offset === 0) return;
    const at = `(0x${offset.toString(16)})`;
    if (isOfTable(offset) || census.isUsed(offset))
      damaged.add(slot, `refcount block ${slot} lies in the place of something else ${at}`, table.length);
    else if (refcounts !== undefined && isAbsurd(refcounts, slot))
      damaged.add(slot, `refcount block ${slot} counts more than any image has ${at}`, table.length);
  };
  const windows = windowsOf(stored);
  if (geometry.refcountOrder < WIDE_ORDER) for (let slot = 0; slot < table.length; slot += 1) judge(slot);
  else {
    for await (const refcounts of windows.all()) {
      const end = Math.min(refcounts.end, table.length);
      for (let slot = refcounts.first; slot < end; slot += 1) judge(slot, refcounts);
    }
  }
  const believed = damaged.count === 0 ? windows : windows.without(damaged);
  const structures = new Float64Array(clusters.length + table.length);
  structures.set(clusters);
  structures.set(believed.stored.table, clusters.length);
  census.add(structures);
  return {
    windows: believed,
    damagedSlots: damaged.count,
    newTable: damaged.count > 0,
    tableCounted: true,
    findings: damaged.findings,
    wrong: damaged.count,
  };
}

/** Wide refcounts can say numbers that no change reaches, and no image has references for. */
const WIDE_ORDER = 5;

function isAbsurd(stored: Refcounts, slot: number): boolean {
  if (stored.isBlank(slot)) return false;
  return stored.block(slot)?.some((refcount) => refcount > MAX_DIFFERENCE) === true;
}
