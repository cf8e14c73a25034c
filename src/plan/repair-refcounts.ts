import { type Census, type Image, Refcounts, readRefcounts } from "../image/index.ts";
import { MAX_DIFFERENCE } from "./refcount-differences.ts";

/** The refcount structures as far as they can be believed. */
export interface BelievedRefcounts {
  readonly refcounts: Refcounts;
  /** Slots of the table whose block cannot be believed; their blocks are written anew. */
  readonly damagedSlots: number;
  /** A new table has to be written: the stored one, or a slot of it, cannot be believed. */
  readonly newTable: boolean;
  /** True while the clusters of the stored table are its own. */
  readonly tableCounted: boolean;
  /** What is wrong, in words. */
  readonly findings: readonly string[];
}

/**
 * Reads the refcount structures and counts them in the census, which holds
 * everything else by now: a block or table in the place of something else cannot
 * be believed, because that something was written over it, or will be.
 */
export async function believedRefcounts(
  image: Image,
  census: Census,
  onTable?: () => void,
): Promise<BelievedRefcounts> {
  const { disk, header, fileSize } = image;
  const { geometry, refcountTableOffset, refcountTableClusters } = header;
  const { clusterSize } = geometry;
  const isAlone = (offset: number, clusters: number): boolean => {
    for (let cluster = 0; cluster < clusters; cluster += 1) {
      if (census.count(offset / clusterSize + cluster) > 0) return false;
    }
    return offset + (clusters - 1) * clusterSize < fileSize;
  };
  if (!isAlone(refcountTableOffset, refcountTableClusters)) {
    const slots = new Float64Array((refcountTableClusters * clusterSize) / 8);
    return {
      refcounts: new Refcounts({ geometry, tableOffset: refcountTableOffset, table: slots }, []),
      damagedSlots: 0,
      newTable: true,
      tableCounted: false,
      findings: [
        header.rescued?.refcountTable ??
          `the refcount table at 0x${refcountTableOffset.toString(16)} lies in the place of something else, or behind the end of the file`,
      ],
    };
  }
  census.claim(refcountTableOffset, refcountTableClusters * clusterSize, "the refcount table");
  const damaged = new Set<number>();
  const findings: string[] = [];
  const onDamage = (slot: number, what: string): void => {
    damaged.add(slot);
    findings.push(what);
  };
  const stored = await readRefcounts(disk, header, fileSize, onTable, onDamage);
  for (const [slot, offset] of stored.table.entries()) {
    if (offset === 0) continue;
    const at = `(0x${offset.toString(16)})`;
    if (!isAlone(offset, 1))
      onDamage(slot, `refcount block ${slot} lies in the place of something else ${at}`);
    else if (isAbsurd(stored, slot))
      onDamage(slot, `refcount block ${slot} counts more than any image has ${at}`);
    else census.claim(offset, clusterSize, "a refcount block");
  }
  return {
    refcounts: stored.without(damaged),
    damagedSlots: damaged.size,
    newTable: damaged.size > 0,
    tableCounted: true,
    findings,
  };
}

const WIDE_ORDER = 5;

/** Wide refcounts can say numbers that no change reaches, and no image has references for. */
function isAbsurd(stored: Refcounts, slot: number): boolean {
  const { refcountOrder, refcountEntries } = stored.geometry;
  if (refcountOrder < WIDE_ORDER) return false;
  for (let entry = 0; entry < refcountEntries; entry += 1) {
    if (stored.get(slot * refcountEntries + entry) > MAX_DIFFERENCE) return true;
  }
  return false;
}
