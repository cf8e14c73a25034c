import {
  type Geometry,
  compressedLength,
  compressedOffset,
  entryOffset,
  hasReservedL2Bits,
  isCompressed,
  isCopied,
  isZeroFlagged,
  plainCluster,
} from "../../format/index.ts";
import { readTables } from "../read-table.ts";
import type { CheckContext } from "./context.ts";
import { hex } from "./findings.ts";
import type { L2Paths } from "./l1-walk.ts";
import { type CountedBlock, MAX_COUNT, OWNER, type ReferenceCounts } from "./reference-counts.ts";
import type { StoredRefcounts } from "./stored-refcounts.ts";

/** What qemu-img says about the mapping of the active layer. */
export interface MappingStatistics {
  readonly allocated: number;
  readonly fragmented: number;
  readonly compressed: number;
}

/** Checks all L2 tables in file order, each once, and counts what they refer to by the paths that lead to them. */
export async function walkL2Tables(
  context: CheckContext,
  paths: L2Paths,
  counts: ReferenceCounts,
  stored: StoredRefcounts,
  onTable: (done: number, total: number) => void,
): Promise<MappingStatistics> {
  const { disk, head, findings, checkpoint } = context;
  const { clusterSize } = head.header.geometry;
  const walk = new L2Walk(context, counts, stored);
  const offsets = [...paths.all.keys()].toSorted((a, b) => a - b);
  for (const offset of offsets) {
    const weight = paths.all.get(offset) ?? 0;
    if (counts.claim(offset, clusterSize, weight, OWNER.l2Table)) continue;
    findings.add(
      "corruption",
      () => ({ where: "L2 table", offset, l2Table: offset, what: `L2 table at ${hex(offset)} ${OUTSIDE}` }),
      weight,
    );
  }
  // A table behind the end of the file is all zeros.
  const inFile = offsets.filter((offset) => offset < head.fileSize);
  let done = 0;
  for await (const { offset, words } of readTables(disk, inFile, clusterSize)) {
    checkpoint();
    walk.table(offset, words, paths.all.get(offset) ?? 0, paths.active.get(offset) ?? 0);
    done += 1;
    onTable(done, inFile.length);
  }
  return walk;
}

export const OUTSIDE = "reaches behind the end of the file";
const ALL_ONES = new Uint8Array(0);

const isBitSet = (bits: Uint8Array, index: number): boolean =>
  (((bits[index >>> 3] ?? 0) >>> (index & 7)) & 1) === 1;

class L2Walk implements MappingStatistics {
  allocated = 0;
  fragmented = 0;
  compressed = 0;
  readonly #context: CheckContext;
  readonly #geometry: Geometry;
  readonly #hasDataFile: boolean;
  readonly #counts: ReferenceCounts;
  readonly #stored: StoredRefcounts;
  /** Refcounts of the block that was asked last. */
  #block = -1;
  #ones: Uint8Array | undefined = ALL_ONES;
  /** The table that is being checked. */
  #table = 0;
  #weight = 0;
  #active = 0;
  /** Where the next cluster of it lies, if it is not fragmented; 0 before the first. */
  #contiguous = 0;
  readonly #fileClusters: number;

  constructor(context: CheckContext, counts: ReferenceCounts, stored: StoredRefcounts) {
    this.#context = context;
    this.#geometry = context.head.header.geometry;
    this.#hasDataFile = context.head.header.externalDataFile;
    this.#counts = counts;
    this.#stored = stored;
    this.#fileClusters = Math.ceil(counts.fileLength / this.#geometry.clusterSize);
  }

  /** `weight` paths lead here, `active` of them from the active layer. */
  table(offset: number, words: Uint32Array, weight: number, active: number): void {
    const { clusterBits, clusterSize, extendedL2, l2EntrySize, refcountEntries } = this.#geometry;
    const step = l2EntrySize / 4;
    const entryBits = Math.log2(refcountEntries);
    // Every entry of a disk comes through this loop: the common kind is decided in it.
    const plainEnd = extendedL2 || this.#hasDataFile ? 0 : this.#fileClusters;
    const comparesFlags = active > 0 && offset !== 0;
    let block = -1;
    let ones: Uint8Array | undefined;
    let counted: CountedBlock = { counts: new Uint32Array(0), owners: new Uint8Array(0) };
    let allocated = 0;
    this.#table = offset;
    this.#weight = weight;
    this.#active = active;
    this.#contiguous = 0;
    for (let at = 0; at < words.length; at += step) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      const cluster = plainCluster(clusterBits, high, low);
      if (cluster <= 0 || cluster >= plainEnd) {
        const zeros = extendedL2 ? (words[at + 2] ?? 0) : 0;
        const subclusters = extendedL2 ? (words[at + 3] ?? 0) : 0;
        if ((high | low | subclusters | zeros) !== 0) this.#entry(at / step, high, low, zeros, subclusters);
        continue;
      }
      if (cluster >>> entryBits !== block) {
        block = cluster >>> entryBits;
        ones = comparesFlags ? this.#stored.ones(block) : undefined;
        counted = this.#counts.ownBlock(block);
      }
      const index = cluster & (refcountEntries - 1);
      if (ones !== undefined && isCopied(high) !== isBitSet(ones, index)) {
        this.#copied(at / step, high, cluster * clusterSize);
      }
      allocated += active;
      const target = cluster * clusterSize;
      if (this.#contiguous !== 0 && target !== this.#contiguous) this.fragmented += active;
      this.#contiguous = target + clusterSize;
      const owner = counted.owners[index] ?? 0;
      if (owner === 0 || owner === OWNER.data) {
        counted.owners[index] = OWNER.data;
        counted.counts[index] = Math.min((counted.counts[index] ?? 0) + weight, MAX_COUNT);
      } else this.#counts.add(cluster, weight, OWNER.data);
    }
    this.allocated += allocated;
  }

  /** An entry of any kind. */
  #entry(entry: number, high: number, low: number, zeros: number, allocated: number): void {
    const { clusterSize } = this.#geometry;
    if (isCompressed(high)) {
      this.#compressed(entry, high, low, zeros !== 0 || allocated !== 0);
      return;
    }
    if (hasReservedL2Bits(high, low)) this.#corrupt(entry, "reserved bits are set");
    const target = entryOffset(high, low);
    const isZero = isZeroFlagged(this.#geometry, low);
    // An external data file has a cluster 0 too: there the flag says that it is allocated.
    if (target === 0 && (isZero || !(this.#hasDataFile && isCopied(high)))) {
      if (!isZero && allocated !== 0) this.#corrupt(entry, "unallocated, but some subclusters are not");
      return;
    }
    // QEMU compares no flags in a table at 0, where the header is.
    if (this.#active > 0 && this.#table !== 0 && target !== 0) this.#copied(entry, high, target);
    if ((zeros & allocated) !== 0) {
      this.#corrupt(entry, "subclusters are allocated and read as zeros at once");
    }
    if (target % clusterSize !== 0) this.#corrupt(entry, `cluster at ${hex(target)} is not aligned`);
    this.allocated += this.#active;
    if (this.#contiguous !== 0 && target !== this.#contiguous) this.fragmented += this.#active;
    this.#contiguous = target + clusterSize;
    if (!this.#hasDataFile) this.#claim(entry, target, clusterSize, OWNER.data);
  }

  #compressed(entry: number, high: number, low: number, hasSubclusters: boolean): void {
    if (isCopied(high)) this.#corrupt(entry, "the COPIED flag of compressed data is set");
    if (this.#hasDataFile) {
      this.#corrupt(entry, "compressed data in an image with an external data file");
      return;
    }
    if (hasSubclusters) {
      this.#corrupt(entry, "compressed data with subclusters");
      return;
    }
    const offset = compressedOffset(this.#geometry, high, low);
    this.#claim(entry, offset, compressedLength(this.#geometry, high, low), OWNER.compressed);
    this.allocated += this.#active;
    this.fragmented += this.#active;
    this.compressed += this.#active;
  }

  #claim(
    entry: number,
    offset: number,
    length: number,
    owner: typeof OWNER.data | typeof OWNER.compressed,
  ): void {
    if (!this.#counts.claim(offset, length, this.#weight, owner)) {
      this.#corrupt(entry, `data at ${hex(offset)} ${OUTSIDE}`);
    }
  }

  /** In the active layer the flag has to say whether the refcount is 1; where that is unknown it may say anything. */
  #copied(entry: number, high: number, target: number): void {
    const { clusterSize, refcountEntries } = this.#geometry;
    let isOne = true;
    const cluster = Math.floor(target / clusterSize);
    if (!this.#hasDataFile) {
      const block = Math.floor(cluster / refcountEntries);
      if (block !== this.#block) {
        this.#block = block;
        this.#ones = this.#stored.ones(block);
      }
      if (this.#ones === undefined) return;
      isOne = isBitSet(this.#ones, cluster % refcountEntries);
    }
    if (isCopied(high) === isOne) return;
    const what = isOne
      ? "the COPIED flag is clear, and the refcount is 1"
      : "the COPIED flag is set, and the refcount is not 1";
    this.#corrupt(entry, what, this.#active, cluster);
  }

  #corrupt(entry: number, what: string, times = this.#weight, cluster?: number): void {
    const offset = this.#table;
    this.#context.findings.add(
      "corruption",
      () => ({
        where: `L2 table at ${hex(offset)}, entry ${entry}`,
        offset,
        ...(cluster === undefined ? {} : { cluster }),
        l2Table: offset,
        what,
      }),
      times,
    );
  }
}
