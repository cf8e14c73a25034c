import { invariant } from "../../errors/index.ts";
import { type RefcountArray, areAlike, decodeRefcountBlock, refcountDigits } from "../../format/index.ts";
import { readClusters } from "../read-table.ts";
import type { CheckContext } from "./context.ts";
import { OUTSIDE_WINDOW } from "./chunk-table.ts";
import { type Draft, type Part, hex } from "./findings.ts";
import {
  type CountedChunk,
  OWNER,
  PACKED_COUNT_MASK,
  type ReferenceCounts,
  SHARED_WRONGLY,
} from "./reference-counts.ts";
import type { HeldBlock, StoredRefcounts } from "./stored-refcounts.ts";

/** Between two looks at whether the findings have room for more. */
const BLOCKS_AT_ONCE = 256;

const slot = (index: number): string => `refcount table, slot ${index}`;

/**
 * Checks the slots of the refcount table, and counts their blocks. Runs last of
 * all that counts: a block has to be the only one in its cluster.
 */
export function checkRefcountBlocks(
  context: CheckContext,
  counts: ReferenceCounts,
  stored: StoredRefcounts,
  isFirst: boolean,
): void {
  const { clusterSize } = context.head.header.geometry;
  /** What was counted when a block's turn came. The window may still lose its end: what is said of a block waits for that. */
  const references = new Uint32Array(stored.offsets.length);
  for (let index = 0; index < stored.offsets.length; index += 1) {
    const offset = stored.offset(index);
    if (offset === 0 && !stored.isReserved(index)) continue;
    const wrong = slotProblem(context, counts, stored, index);
    if (wrong !== undefined) {
      if (isFirst) addSlot(context, index, { offset: context.head.header.refcountTableOffset, what: wrong });
    } else if (offset !== 0) {
      if (!counts.claim(offset, clusterSize, 1, OWNER.metadata) && isFirst) {
        addSlot(context, index, {
          offset: context.head.header.refcountTableOffset,
          what: `refcount block at ${hex(offset)} reaches behind the end of the file`,
        });
      }
      references[index] = counts.get(offset / clusterSize);
    }
  }
  const { first, end } = counts.window;
  const { refcountEntries } = counts.geometry;
  for (let index = 0; index < stored.offsets.length; index += 1) {
    const count = references[index] ?? 0;
    if (count <= 1) continue;
    const offset = stored.offset(index);
    const cluster = offset / clusterSize;
    const block = Math.floor(cluster / refcountEntries);
    if (block < first || block >= end) continue;
    const what = `refcount block at ${hex(offset)} is not the only one in its cluster`;
    addSlot(context, index, { offset, cluster, references: count, what });
  }
}

function addSlot({ findings }: CheckContext, index: number, finding: Omit<Draft, "where">): void {
  findings.add("corruption", "slots", () => ({ where: slot(index), ...finding }), 1, [index, 0]);
}

/** What is wrong with a slot whatever the refcounts say. */
function slotProblem(
  { head }: CheckContext,
  counts: ReferenceCounts,
  stored: StoredRefcounts,
  index: number,
): string | undefined {
  const offset = stored.offset(index);
  if (stored.isReserved(index)) return "reserved bits are set";
  if (!stored.isAligned(index)) return `refcount block at ${hex(offset)} is not cluster aligned`;
  if (Math.floor(offset / head.header.geometry.clusterSize) >= counts.clusters) {
    return `refcount block at ${hex(offset)} is outside the file`;
  }
  return undefined;
}

/**
 * Compares what is stored with what was counted, window by window in ascending
 * order. Where findings of several kinds are made at once, each kind is told in
 * a part of its own, so that windows cannot be told from the report.
 */
export class Comparison {
  /** The last cluster that the refcounts or the references say is used. */
  highest = 0;
  /** Clusters that belong to several that must not share them. */
  overlaps = 0;
  readonly #context: CheckContext;
  readonly #counts: ReferenceCounts;
  readonly #stored: StoredRefcounts;
  /** What is stored, or counted, where there is no block. */
  readonly #zeros: Uint8Array;
  readonly #uncounted: CountedChunk;
  #part: Part = "refcounts";

  constructor(context: CheckContext, counts: ReferenceCounts, stored: StoredRefcounts) {
    this.#context = context;
    this.#counts = counts;
    this.#stored = stored;
    const { chunkClusters } = counts.table;
    this.#zeros = new Uint8Array(counts.geometry.refcountEntries);
    this.#uncounted = { counts: new Uint32Array(chunkClusters), owners: this.#zeros };
  }

  /** Compares the window of what was counted. */
  async window(): Promise<void> {
    const stored = this.#stored;
    const { first, end } = this.#counts.window;
    const blocks = Math.ceil(this.#counts.clusters / this.#counts.geometry.refcountEntries);
    const present: number[] = [];
    for (let index = first; index < Math.min(blocks, stored.offsets.length, end); index += 1) {
      if (stored.isStored(index)) present.push(index);
      else if (!stored.isReadable(index)) this.#unreadable(index);
    }
    for (const index of this.#countedBlocks()) {
      if (!stored.isStored(index) && stored.isReadable(index)) this.#block(index, undefined);
    }
    await this.#present(present, blocks - 1);
    this.#noteBehindEnd(Math.max(first, blocks), end);
  }

  async #present(present: readonly number[], last: number): Promise<void> {
    const { disk, checkpoint } = this.#context;
    for (let at = 0; at < present.length; at += BLOCKS_AT_ONCE) {
      const some = present
        .slice(at, at + BLOCKS_AT_ONCE)
        .filter((index) => index === last || !this.#unreferenced(index));
      const missing = some.filter((index) => this.#stored.kept(index) === undefined);
      const offsets = missing.map((index) => this.#stored.offset(index));
      const read = readClusters(disk, offsets, this.#counts.geometry.clusterSize);
      try {
        for (const index of some) {
          checkpoint();
          this.#block(index, this.#stored.kept(index) ?? (await this.#next(read)));
        }
      } finally {
        await read.return();
      }
    }
  }

  async #next(read: AsyncIterator<{ readonly bytes: Buffer }, undefined>): Promise<HeldBlock> {
    const { value } = await read.next();
    invariant(value !== undefined, "a refcount block was not read");
    return { bytes: value.bytes, refcounts: decodeRefcountBlock(value.bytes, this.#counts.geometry) };
  }

  /** Blocks of the window in which something is counted, ascending. */
  #countedBlocks(): Set<number> {
    const { geometry, table } = this.#counts;
    const perBlock = geometry.refcountEntries / table.chunkClusters;
    const blocks = new Set<number>();
    for (const chunk of table.chunks()) blocks.add(Math.floor(chunk / perBlock));
    return blocks;
  }

  #unreadable(index: number): void {
    const { geometry, clusters: all } = this.#counts;
    const { refcountEntries, refcountMax } = geometry;
    const { chunkClusters } = this.#counts.table;
    const clusters = Math.min(refcountEntries, all - index * refcountEntries);
    const offset = this.#stored.offset(index);
    const what = `the refcounts of ${clusters} clusters cannot be read, their block at ${hex(offset)} is not aligned`;
    this.#part = "unreadableBlocks";
    this.#context.findings.add("error", this.#part, () => ({ where: slot(index), what }), clusters);
    // References that do not fit the width are too many whatever is stored.
    for (let from = 0; from < clusters; from += chunkClusters) {
      const first = index * refcountEntries + from;
      const counts = this.#counts.chunk(first / chunkClusters)?.counts ?? [];
      for (let entry = 0; entry < Math.min(counts.length, clusters - from); entry += 1) {
        const references = counts[entry] ?? 0;
        if (references > refcountMax) this.#overflow(first + entry, references);
      }
    }
  }

  /**
   * A whole block of clusters that nothing refers to needs no second look: its
   * entries above 0 are leaks, as many as were seen when it was read. False while
   * the findings have room, because then each of them has to be named.
   */
  #unreferenced(index: number): boolean {
    if (this.#isCounted(index)) return false;
    const { findings, rootsUnknown } = this.#context;
    const { used, last } = this.#stored.use(index);
    if (used === 0) return true;
    if (!findings.isFull("refcounts")) return false;
    findings.addUnseen(rootsUnknown ? "note" : "leak", used);
    this.highest = Math.max(this.highest, index * this.#counts.geometry.refcountEntries + last);
    return true;
  }

  #isCounted(index: number): boolean {
    const { geometry, table } = this.#counts;
    const perBlock = geometry.refcountEntries / table.chunkClusters;
    for (let chunk = index * perBlock; chunk < (index + 1) * perBlock; chunk += 1) {
      if (table.find(chunk) !== OUTSIDE_WINDOW) return true;
    }
    return false;
  }

  /** A block that is there, or none. */
  #block(index: number, held: HeldBlock | undefined): void {
    const { refcountEntries } = this.#counts.geometry;
    const { bytes, refcounts } = held ?? { bytes: undefined, refcounts: this.#zeros };
    this.#part = bytes === undefined ? "missingBlocks" : "refcounts";
    const end = Math.min(refcountEntries, this.#counts.clusters - index * refcountEntries);
    const { chunkClusters } = this.#counts.table;
    for (let from = 0, length = 0; from < end; from += length) {
      const first = index * refcountEntries + from;
      length = bytes === undefined ? 0 : this.#agreeing(first, refcounts, bytes, from, end);
      if (length > 0) {
        this.highest = Math.max(this.highest, first + length - 1);
        continue;
      }
      length = Math.min(chunkClusters, end - from);
      const place = this.#counts.table.find(first / chunkClusters);
      const highest =
        place >= 0 && place % 2 === 0
          ? this.#packedChunk(first, place / 2, refcounts, from, length, bytes)
          : this.#chunk(first, refcounts, from, length, bytes);
      if (highest >= 0) this.highest = Math.max(this.highest, first + highest);
    }
    if (bytes !== undefined && end < refcountEntries) this.#behindEnd(index, refcounts, end);
  }

  /**
   * How many clusters from `first` on, in whole chunks, have the same number of
   * references, above 0, and as many refcounts that are all that number: on a disk
   * that was written in order almost all, and comparing bytes costs a tenth of
   * comparing counts.
   */
  #agreeing(first: number, refcounts: RefcountArray, bytes: Buffer, from: number, end: number): number {
    const { geometry, table } = this.#counts;
    const chunk = first / table.chunkClusters;
    if (refcounts[from] !== this.#counts.countOfAlike(chunk) || refcounts[from] === 0) return 0;
    const chunks = this.#counts.alikeFrom(chunk, Math.floor((end - from) / table.chunkClusters));
    const length = chunks * table.chunkClusters;
    return chunks > 0 && areAlike(bytes, geometry, from, length) ? length : 0;
  }

  /**
   * Compares the clusters from `first` on, whose references are packed from `at` on
   * and whose refcounts are those from `from` on. None of them is shared wrongly.
   * Returns the last entry that is used, -1 for none.
   */
  #packedChunk(
    first: number,
    at: number,
    refcounts: RefcountArray,
    from: number,
    length: number,
    bytes: Buffer | undefined,
  ): number {
    const packed = this.#counts.table.bytes;
    let highest = -1;
    for (let entry = 0; entry < length; entry += 1) {
      const refcount = refcounts[from + entry] ?? 0;
      const references = (packed[at + entry] ?? 0) & PACKED_COUNT_MASK;
      if (refcount === 0 && references === 0) continue;
      highest = entry;
      if (refcount === references) continue;
      this.#judge(first + entry, refcount, digits(bytes, from + entry, refcount), references, false);
    }
    return highest;
  }

  /** The same whatever is counted. */
  #chunk(
    first: number,
    refcounts: RefcountArray,
    from: number,
    length: number,
    bytes: Buffer | undefined,
  ): number {
    const { counts, owners } =
      this.#counts.chunk(first / this.#counts.table.chunkClusters) ?? this.#uncounted;
    let highest = -1;
    for (let entry = 0; entry < length; entry += 1) {
      const refcount = refcounts[from + entry] ?? 0;
      const references = counts[entry] ?? 0;
      const isShared = (owners[entry] ?? 0) >= SHARED_WRONGLY;
      if (refcount === references && !isShared) {
        if (refcount !== 0) highest = entry;
        continue;
      }
      this.#judge(first + entry, refcount, digits(bytes, from + entry, refcount), references, isShared);
      highest = entry;
    }
    return highest;
  }

  #judge(
    cluster: number,
    refcount: number,
    shown: number | string,
    counted: number,
    isSharedWrongly: boolean,
  ): void {
    const { refcountMax } = this.#counts.geometry;
    const overflows = counted > refcountMax;
    if (overflows) this.#overflow(cluster, counted);
    const references = Math.min(counted, refcountMax);
    if (refcount !== references) this.#differ(cluster, refcount > references, shown, references);
    // Where the refcount is too low, or cannot be high enough, the cluster is known to be corrupt already.
    if (!overflows && refcount >= references && isSharedWrongly) this.#shared(cluster, shown, references);
  }

  #overflow(cluster: number, references: number): void {
    const { clusterSize, refcountMax } = this.#counts.geometry;
    const what = `cluster ${cluster} has more references than a refcount can hold`;
    this.#context.findings.add(
      "corruption",
      this.#part,
      () => ({ where: "refcounts", what, offset: cluster * clusterSize, cluster, references }),
      references - refcountMax,
    );
  }

  #differ(cluster: number, isLeak: boolean, refcount: number | string, references: number): void {
    const { findings, rootsUnknown } = this.#context;
    const offset = cluster * this.#counts.geometry.clusterSize;
    const what = `cluster ${cluster} refcount=${refcount} reference=${references}`;
    const kind = isLeak ? (rootsUnknown ? "note" : "leak") : "corruption";
    findings.add(kind, this.#part, () => ({
      where: "refcounts",
      what,
      offset,
      cluster,
      refcount,
      references,
    }));
  }

  #shared(cluster: number, refcount: number | string, references: number): void {
    this.overlaps += 1;
    const offset = cluster * this.#counts.geometry.clusterSize;
    const what = `cluster ${cluster} belongs to several that must not share it`;
    this.#context.findings.add("corruption", this.#part, () => ({
      where: "overlap",
      what,
      offset,
      cluster,
      refcount,
      references,
    }));
  }

  /** The block of the last clusters has room for some that the file does not have. */
  #behindEnd(index: number, refcounts: RefcountArray, from: number): void {
    let used = 0;
    for (let entry = from; entry < refcounts.length; entry += 1) if (refcounts[entry] !== 0) used += 1;
    if (used > 0) this.#noteUsed(index, used);
  }

  /** QEMU compares nothing there; but it would hand out these clusters never again. */
  #noteBehindEnd(first: number, end: number): void {
    const stored = this.#stored;
    for (let index = first; index < Math.min(stored.offsets.length, end); index += 1) {
      const { used } = stored.isStored(index) ? stored.use(index) : { used: 0 };
      if (used > 0) this.#noteUsed(index, used);
    }
  }

  #noteUsed(index: number, used: number): void {
    const offset = this.#stored.offset(index);
    const what = `refcounts above 0 of clusters behind the end of the file: ${used}`;
    this.#context.findings.add("note", "behindEnd", () => ({
      where: `refcount block ${index}`,
      offset,
      what,
    }));
  }
}

/** A refcount as it is stored; above 2^53, where no number holds it, in digits. */
function digits(bytes: Buffer | undefined, entry: number, refcount: number): number | string {
  if (bytes === undefined || Number.isFinite(refcount)) return refcount;
  return refcountDigits(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), entry);
}
