import {
  type Geometry,
  compressedLength,
  compressedOffset,
  EntryRuns,
  type TableEntries,
  entryOffset,
  hasReservedL2Bits,
  isCompressed,
  isCopied,
  isZeroFlagged,
} from "../../format/index.ts";
import type { CheckContext } from "./context.ts";
import { hex } from "./findings.ts";
import { type FlagWindow, OTHER_PASS } from "./flag-window.ts";
import { MAX_COUNT, OWNER, PACKED_DATA_END, type ReferenceCounts, withData } from "./reference-counts.ts";
import { UNREADABLE, nextOther } from "./stored-refcounts.ts";
import type { TableReach } from "../table-reach.ts";

export const OUTSIDE = "reaches behind the end of the file";

/** Findings about one entry in the order in which they are told. */
const RESERVED = 0;
const FLAG = 1;
const OTHER = 2;
const KINDS = 4;

const WORD = 2 ** 32;

/**
 * Checks L2 tables and counts what they refer to. The first time that a table is
 * walked everything in it is checked; from then on only what belongs to the
 * window of that pass: references, and COPIED flags.
 */
export class L2Walk {
  /** What qemu-img says about the mapping of the active layer. */
  allocated = 0;
  fragmented = 0;
  compressed = 0;
  readonly #context: CheckContext;
  readonly #geometry: Geometry;
  readonly #hasDataFile: boolean;
  readonly #counts: ReferenceCounts;
  #flags: FlagWindow;
  /** False when all tables were walked before. */
  isFirst = true;
  /** The table that is being checked. */
  #table = 0;
  #weight = 0;
  #active = 0;
  /** Where the next cluster of it lies, if it is not fragmented; 0 before the first. */
  #contiguous = 0;
  /** The first and the last chunk that it refers to. */
  #lowest = Infinity;
  #highest = -1;
  readonly #fileClusters: number;
  readonly #runs: EntryRuns;

  constructor(context: CheckContext, counts: ReferenceCounts, flags: FlagWindow) {
    this.#context = context;
    this.#geometry = context.head.header.geometry;
    this.#hasDataFile = context.head.header.externalDataFile;
    this.#counts = counts;
    this.#flags = flags;
    this.#runs = new EntryRuns(this.#geometry);
    this.#fileClusters = Math.ceil(counts.fileLength / this.#geometry.clusterSize);
  }

  /** From now on tables are walked again. */
  beginAnother(flags: FlagWindow): void {
    this.#flags = flags;
    this.isFirst = false;
  }

  /** `weight` paths lead to the table, `active` of them from the active layer. */
  table(offset: number, table: TableEntries, weight: number, active: number): void {
    const { clusterSize, extendedL2, refcountEntries } = this.#geometry;
    const { bytes, words: counted, chunkBits, chunkClusters } = this.#counts.table;
    const blockBits = Math.log2(refcountEntries) - chunkBits;
    // Every entry of a disk comes through this loop: the common kind is decided in it.
    const plainEnd = extendedL2 || this.#hasDataFile ? 0 : this.#fileClusters;
    const comparesFlags = active > 0 && offset !== 0;
    const { ones } = this.#flags.stored;
    const isFirst = this.isFirst;
    const runs = this.#runs;
    // In whole numbers the loop is faster. So many do not fit in a packed count.
    const packedWeight = Math.min(weight, PACKED_DATA_END) | 0;
    let chunk = -1;
    let place = 0;
    let isAlike = false;
    let counts = 0;
    let owners = 0;
    let onesAt = OTHER_PASS;
    let allocated = 0;
    let fragmented = 0;
    // A local number costs nothing; a field that is no small integer is made anew each time.
    let contiguous = 0;
    this.#table = offset;
    this.#weight = weight;
    this.#active = active;
    this.#lowest = Infinity;
    this.#highest = -1;
    runs.begin(table);
    while (runs.next()) {
      const { entry: firstEntry, count, high, low, cluster: firstCluster } = runs;
      const plain = firstCluster <= 0 ? 0 : Math.min(count, Math.max(0, plainEnd - firstCluster));
      if (plain > 0 && isFirst) {
        allocated += active * plain;
        const target = firstCluster * clusterSize;
        if (contiguous !== 0 && target !== contiguous) fragmented += active;
        contiguous = target + plain * clusterSize;
      }
      for (let done = 0, part = 0; done < plain; done += part) {
        const cluster = firstCluster + done;
        const first = cluster & (chunkClusters - 1);
        part = Math.min(chunkClusters - first, plain - done);
        if (cluster >>> chunkBits !== chunk) {
          chunk = cluster >>> chunkBits;
          isAlike = part === chunkClusters && this.#counts.addToAlike(chunk, packedWeight);
          place = isAlike ? 0 : this.#counts.place(chunk);
          counts = place >> 1;
          owners = counts + chunkClusters * 4;
          onesAt = comparesFlags ? this.#flags.onesAt(chunk >>> blockBits) : OTHER_PASS;
          if (chunk < this.#lowest) this.#lowest = chunk;
          if (chunk > this.#highest) this.#highest = chunk;
        }
        if (onesAt > UNREADABLE) {
          const isSet = isCopied(high);
          const bit = onesAt * 8 + (cluster & (refcountEntries - 1));
          // Without ones, all flags that are set are wrong, and no other.
          const flags = isSet || onesAt >= 0 ? part : 0;
          for (let index = 0; index < flags; index += 1) {
            if (onesAt >= 0) index = nextOther(ones, bit, index, flags, isSet);
            if (index < flags) this.#wrongFlag(firstEntry + done + index, !isSet, cluster + index);
          }
        }
        if (isAlike) {
          // It has no place until a cluster of it is counted by itself.
          isAlike = false;
          chunk = -1;
          continue;
        }
        if (place < 0) continue;
        let entry = first;
        const end = first + part;
        if ((place & 1) === 0) {
          for (; entry < end; entry += 1) {
            const packed = withData(bytes[counts + entry] ?? 0, packedWeight);
            if (packed === 0) break;
            bytes[counts + entry] = packed;
          }
        } else {
          for (; entry < end; entry += 1) {
            const owner = bytes[owners + entry] ?? 0;
            if (owner !== 0 && owner !== OWNER.data) break;
            bytes[owners + entry] = OWNER.data;
            const index = (counts >> 2) + entry;
            counted[index] = Math.min((counted[index] ?? 0) + weight, MAX_COUNT);
          }
        }
        if (entry === end) continue;
        // Counting one of them may move the chunk.
        for (; entry < end; entry += 1) this.#counts.add(cluster + entry - first, weight, OWNER.data);
        chunk = -1;
      }
      const isNothing = (high | low) === 0 && !extendedL2;
      if (plain === count || isNothing) continue;
      this.#contiguous = contiguous;
      for (let index = plain; index < count; index += 1) {
        this.#entry(firstEntry + index, high, low + index * clusterSize, table);
      }
      contiguous = this.#contiguous;
      chunk = -1;
    }
    this.allocated += allocated;
    this.fragmented += fragmented;
  }

  /** Has a note taken of what the last table refers to, as number `index`. */
  noteReach(reach: TableReach, index: number): void {
    const perBlock = this.#geometry.refcountEntries / this.#counts.table.chunkClusters;
    reach.note(index, Math.floor(this.#lowest / perBlock), Math.floor(this.#highest / perBlock));
  }

  /** An entry of any kind: the low half may have a carry for the high one. */
  #entry(entry: number, highBefore: number, lowWithCarry: number, table: TableEntries): void {
    const { clusterSize, extendedL2 } = this.#geometry;
    const low = lowWithCarry % WORD;
    const high = highBefore + Math.floor(lowWithCarry / WORD);
    const zeros = extendedL2 ? (table.words[entry * 4 + 2] ?? 0) : 0;
    const allocated = extendedL2 ? (table.words[entry * 4 + 3] ?? 0) : 0;
    if ((high | low | zeros | allocated) === 0) return;
    if (isCompressed(high)) {
      this.#compressed(entry, high, low, zeros !== 0 || allocated !== 0);
      return;
    }
    if (hasReservedL2Bits(high, low)) this.#corrupt(entry, "reserved bits are set", RESERVED);
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
    if (this.isFirst) {
      this.allocated += this.#active;
      if (this.#contiguous !== 0 && target !== this.#contiguous) this.fragmented += this.#active;
      this.#contiguous = target + clusterSize;
    }
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
    if (!this.isFirst) return;
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
    this.#reaches(offset, length);
    if (!this.#counts.claim(offset, length, this.#weight, owner)) {
      this.#corrupt(entry, `data at ${hex(offset)} ${OUTSIDE}`);
    }
  }

  #reaches(offset: number, length: number): void {
    const bytes = this.#geometry.clusterSize * this.#counts.table.chunkClusters;
    this.#lowest = Math.min(this.#lowest, Math.floor(offset / bytes));
    this.#highest = Math.max(this.#highest, Math.floor((offset + length - 1) / bytes));
  }

  /** In the active layer the flag has to say whether the refcount is 1; where that is unknown it may say anything. */
  #copied(entry: number, high: number, target: number): void {
    const cluster = Math.floor(target / this.#geometry.clusterSize);
    // Of a data file nothing has more than one reference.
    const isOne = this.#hasDataFile ? this.isFirst || undefined : this.#flags.isOne(cluster);
    if (!this.#hasDataFile) this.#reaches(target, 1);
    if (isOne !== undefined && isCopied(high) !== isOne) this.#wrongFlag(entry, isOne, cluster);
  }

  #wrongFlag(entry: number, isOne: boolean, cluster: number): void {
    const what = isOne
      ? "the COPIED flag is clear, and the refcount is 1"
      : "the COPIED flag is set, and the refcount is not 1";
    this.#add(entry, what, FLAG, this.#active, cluster);
  }

  /** What is wrong with an entry whatever the refcounts say: told the first time. */
  #corrupt(entry: number, what: string, minor = OTHER): void {
    if (this.isFirst) this.#add(entry, what, minor, this.#weight);
  }

  #add(entry: number, what: string, minor: number, times: number, cluster?: number): void {
    const offset = this.#table;
    this.#context.findings.add(
      "corruption",
      "l2Tables",
      () => ({
        where: `L2 table at ${hex(offset)}, entry ${entry}`,
        offset,
        ...(cluster === undefined ? {} : { cluster }),
        l2Table: offset,
        what,
      }),
      times,
      [offset, entry * KINDS + minor],
    );
  }
}
