import { type RefcountArray, decodeRefcountBlock, refcountDigits } from "../../format/index.ts";
import { readClusters } from "../read-table.ts";
import type { CheckContext } from "./context.ts";
import { hex } from "./findings.ts";
import { type CountedBlock, OWNER, type ReferenceCounts, SHARED_WRONGLY } from "./reference-counts.ts";
import type { StoredRefcounts } from "./stored-refcounts.ts";

/** Between two looks at whether the findings have room for more. */
const BLOCKS_AT_ONCE = 256;

const slot = (index: number): string => `refcount table, slot ${index}`;

/** Checks the slots of the refcount table. Runs last of all that counts: a block has to be the only one in its cluster. */
export function checkRefcountBlocks(
  { findings, head }: CheckContext,
  counts: ReferenceCounts,
  stored: StoredRefcounts,
): void {
  const { clusterSize } = head.header.geometry;
  for (const [index, offset] of stored.offsets.entries()) {
    const corrupt = (what: string): void =>
      findings.add("corruption", () => ({
        where: slot(index),
        offset: head.header.refcountTableOffset,
        what,
      }));
    const cluster = Math.floor(offset / clusterSize);
    if (stored.isReserved(index)) corrupt("reserved bits are set");
    else if (!stored.isAligned(index)) corrupt(`refcount block at ${hex(offset)} is not cluster aligned`);
    else if (cluster >= counts.clusters) corrupt(`refcount block at ${hex(offset)} is outside the file`);
    else if (offset !== 0) {
      if (!counts.claim(offset, clusterSize, 1, OWNER.metadata)) {
        corrupt(`refcount block at ${hex(offset)} reaches behind the end of the file`);
      }
      const references = counts.get(cluster);
      if (references === 1) continue;
      findings.add("corruption", () => ({
        where: slot(index),
        offset,
        cluster,
        references,
        what: `refcount block at ${hex(offset)} is not the only one in its cluster`,
      }));
    }
  }
}

export interface Compared {
  /** The last cluster that the refcounts or the references say is used. */
  readonly highest: number;
  /** Clusters that belong to several that must not share them. */
  readonly overlaps: number;
}

/** Compares what is stored with what was counted. */
export async function compareRefcounts(
  context: CheckContext,
  counts: ReferenceCounts,
  stored: StoredRefcounts,
): Promise<Compared> {
  const comparison = new Comparison(context, counts, stored);
  const blocks = Math.ceil(counts.clusters / counts.geometry.refcountEntries);
  const present: number[] = [];
  for (let index = 0; index < Math.min(blocks, stored.offsets.length); index += 1) {
    if (stored.isStored(index)) present.push(index);
    else if (!stored.isReadable(index)) comparison.unreadable(index);
  }
  const unstored = counts.blockIndexes.filter((index) => !stored.isStored(index));
  for (const index of unstored) if (stored.isReadable(index)) comparison.block(index, undefined);
  for (let at = 0; at < present.length; at += BLOCKS_AT_ONCE) {
    const some = present
      .slice(at, at + BLOCKS_AT_ONCE)
      .filter((index) => index === blocks - 1 || !comparison.unreferenced(index));
    const offsets = some.map((index) => stored.offset(index));
    let next = 0;
    for await (const { bytes } of readClusters(context.disk, offsets, counts.geometry.clusterSize)) {
      context.checkpoint();
      comparison.block(some[next] ?? 0, bytes);
      next += 1;
    }
  }
  noteBehindEnd(context, stored, blocks);
  return comparison;
}

class Comparison implements Compared {
  highest = 0;
  overlaps = 0;
  readonly #context: CheckContext;
  readonly #counts: ReferenceCounts;
  readonly #stored: StoredRefcounts;
  /** What is stored, or counted, where there is no block. */
  readonly #zeros: Uint8Array;
  readonly #uncounted: CountedBlock;

  constructor(context: CheckContext, counts: ReferenceCounts, stored: StoredRefcounts) {
    this.#context = context;
    this.#counts = counts;
    this.#stored = stored;
    const { refcountEntries } = counts.geometry;
    this.#zeros = new Uint8Array(refcountEntries);
    this.#uncounted = { counts: new Uint32Array(refcountEntries), owners: this.#zeros };
  }

  unreadable(index: number): void {
    const { refcountEntries } = this.#counts.geometry;
    const clusters = Math.min(refcountEntries, this.#counts.clusters - index * refcountEntries);
    const offset = this.#stored.offset(index);
    const what = `the refcounts of ${clusters} clusters cannot be read, their block at ${hex(offset)} is not aligned`;
    this.#context.findings.add("error", () => ({ where: slot(index), what }), clusters);
    // References that do not fit the width are too many whatever is stored.
    const counted = this.#counts.counts(index);
    for (let entry = 0; entry < clusters; entry += 1) {
      const references = counted?.[entry] ?? 0;
      if (references > this.#counts.geometry.refcountMax)
        this.#overflow(index * refcountEntries + entry, references);
    }
  }

  /**
   * A whole block of clusters that nothing refers to needs no second look: its
   * entries above 0 are leaks, as many as were seen when it was read. False while
   * the findings have room, because then each of them has to be named.
   */
  unreferenced(index: number): boolean {
    if (this.#counts.counts(index) !== undefined) return false;
    const { findings, rootsUnknown } = this.#context;
    const { used, last } = this.#stored.use(index);
    if (used === 0) return true;
    if (!findings.isFull) return false;
    findings.addUnseen(rootsUnknown ? "note" : "leak", used);
    this.highest = Math.max(this.highest, index * this.#counts.geometry.refcountEntries + last);
    return true;
  }

  /** `bytes` are those of the stored block, which may be decoded in place. */
  block(index: number, bytes: Buffer | undefined): void {
    const { geometry } = this.#counts;
    const { refcountEntries } = geometry;
    const refcounts = bytes === undefined ? this.#zeros : decodeRefcountBlock(bytes, geometry);
    const { counts, owners } = this.#counts.block(index) ?? this.#uncounted;
    const first = index * refcountEntries;
    const end = Math.min(refcountEntries, this.#counts.clusters - first);
    let highest = -1;
    for (let entry = 0; entry < end; entry += 1) {
      const refcount = refcounts[entry] ?? 0;
      const references = counts[entry] ?? 0;
      if (refcount !== references || (owners[entry] ?? 0) >= SHARED_WRONGLY) {
        const isShared = (owners[entry] ?? 0) >= SHARED_WRONGLY;
        this.#judge(first + entry, refcount, digits(bytes, entry, refcount), references, isShared);
        highest = entry;
      } else if (refcount !== 0) highest = entry;
    }
    if (highest >= 0) this.highest = Math.max(this.highest, first + highest);
    if (bytes !== undefined && end < refcountEntries) this.#behindEnd(index, refcounts, end);
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
      () => ({ where: "refcounts", what, offset: cluster * clusterSize, cluster, references }),
      references - refcountMax,
    );
  }

  #differ(cluster: number, isLeak: boolean, refcount: number | string, references: number): void {
    const { findings, rootsUnknown } = this.#context;
    const offset = cluster * this.#counts.geometry.clusterSize;
    const what = `cluster ${cluster} refcount=${refcount} reference=${references}`;
    const kind = isLeak ? (rootsUnknown ? "note" : "leak") : "corruption";
    findings.add(kind, () => ({ where: "refcounts", what, offset, cluster, refcount, references }));
  }

  #shared(cluster: number, refcount: number | string, references: number): void {
    this.overlaps += 1;
    const offset = cluster * this.#counts.geometry.clusterSize;
    const what = `cluster ${cluster} belongs to several that must not share it`;
    this.#context.findings.add("corruption", () => ({
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
    if (used > 0) note(this.#context, index, used, this.#stored.offset(index));
  }
}

/** A refcount as it is stored; above 2^53, where no number holds it, in digits. */
function digits(bytes: Buffer | undefined, entry: number, refcount: number): number | string {
  if (bytes === undefined || Number.isFinite(refcount)) return refcount;
  return refcountDigits(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), entry);
}

/** QEMU compares nothing there; but it would hand out these clusters never again. */
function noteBehindEnd(context: CheckContext, stored: StoredRefcounts, blocks: number): void {
  for (let index = blocks; index < stored.offsets.length; index += 1) {
    const { used } = stored.isStored(index) ? stored.use(index) : { used: 0 };
    if (used > 0) note(context, index, used, stored.offset(index));
  }
}

function note({ findings }: CheckContext, index: number, used: number, offset: number): void {
  const what = `refcounts above 0 of clusters behind the end of the file: ${used}`;
  findings.add("note", () => ({ where: `refcount block ${index}`, offset, what }));
}
