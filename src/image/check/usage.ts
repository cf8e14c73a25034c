import { compressedLength, compressedOffset, entryOffset, isCompressed } from "../../format/index.ts";
import { readTables } from "../read-table.ts";
import { type CheckContext, type Root, readEntries } from "./context.ts";
import { l1Segments } from "./l1-segments.ts";
import { l2OffsetsIn } from "./l1-walk.ts";
import type { ReferenceCounts } from "./reference-counts.ts";

/** What one root occupies in the file, tables included. */
export interface RootUsage {
  /** Undefined for the active layer. */
  readonly snapshot?: { readonly id: string; readonly name: string };
  /** Bytes that no other root uses: what deleting the snapshot frees. */
  readonly exclusiveBytes: number;
  /** Bytes that it shares with other roots. */
  readonly sharedBytes: number;
  /** Its L1 and L2 tables, contained in the numbers above. */
  readonly tableBytes: number;
}

export interface Usage {
  readonly roots: readonly RootUsage[];
  /** Clusters of the image itself: header, refcounts, snapshot table, bitmaps, encryption header. */
  readonly metadataBytes: number;
  /** All clusters that something refers to. */
  readonly usedBytes: number;
}

/** So many roots have a bit each in one pass; more take more passes, never more memory. */
const ROOTS_PER_PASS = 31;
const MANY = 2 ** 32 - 1;

/** Which roots use each cluster, by refcount block. */
interface Users {
  /** A bit for each root of this pass. */
  readonly bits: Uint32Array;
  /** The only root that uses it, counted from 1; 0 for none, MANY for several. */
  readonly only: Uint32Array;
}

/**
 * Undefined where L1 tables overlap: what belongs to whom cannot be said, and
 * every snapshot may have all of the file for a table.
 */
export async function measureUsage(
  context: CheckContext,
  counts: ReferenceCounts,
): Promise<Usage | undefined> {
  if (hasOverlaps(context)) return undefined;
  const users = new ClusterUsers(counts);
  const perRoot: { used: number; tables: number; exclusive: number }[] = [];
  for (let first = 0; first < context.roots.length; first += ROOTS_PER_PASS) {
    const roots = context.roots.slice(first, first + ROOTS_PER_PASS);
    users.beginPass();
    const tables = await markPass(context, roots, first, users);
    const used = users.countBits(roots.length);
    for (const [index, clusters] of used.entries()) {
      perRoot.push({ used: clusters, tables: tables[index] ?? 0, exclusive: 0 });
    }
  }
  const exclusive = users.countOnly(perRoot.length);
  const { clusterSize } = counts.geometry;
  const usedClusters = countUsed(counts);
  return {
    roots: context.roots.map(({ snapshot }, index) => {
      const { used = 0, tables = 0 } = perRoot[index] ?? {};
      const own = exclusive[index] ?? 0;
      return {
        ...(snapshot === undefined ? {} : { snapshot }),
        exclusiveBytes: own * clusterSize,
        sharedBytes: (used - own) * clusterSize,
        tableBytes: tables * clusterSize,
      };
    }),
    metadataBytes: (usedClusters - users.countAll()) * clusterSize,
    usedBytes: usedClusters * clusterSize,
  };
}

function hasOverlaps({ roots, findings }: CheckContext): boolean {
  for (const { weight, offset } of l1Segments(roots, 8)) {
    if (weight === 1) continue;
    const what = "L1 tables overlap: what each snapshot occupies cannot be said";
    findings.add("note", () => ({ where: "usage", offset, what }));
    return true;
  }
  return false;
}

function countUsed(counts: ReferenceCounts): number {
  let used = 0;
  for (const index of counts.blockIndexes)
    for (const count of counts.counts(index) ?? []) if (count > 0) used += 1;
  return used;
}

/** Marks what the roots use; returns how many clusters of tables each has. */
async function markPass(
  context: CheckContext,
  roots: readonly Root[],
  first: number,
  users: ClusterUsers,
): Promise<number[]> {
  const { geometry } = context.head.header;
  const { clusterSize } = geometry;
  const tables: number[] = [];
  const bitsOf = new Map<number, number>();
  for (const [index, root] of roots.entries()) {
    const bit = 2 ** index;
    const only = first + index + 1;
    users.mark(root.offset, root.entries * 8, bit, only);
    let count = Math.ceil((root.entries * 8) / clusterSize);
    for await (const { words } of readEntries(context, root.offset, root.entries)) {
      for (const offset of l2OffsetsIn(words)) {
        const before = bitsOf.get(offset) ?? 0;
        if ((before & bit) === 0) count += 1;
        bitsOf.set(offset, before | bit);
      }
    }
    tables.push(count);
  }
  const offsets = [...bitsOf.keys()]
    .filter((offset) => offset < context.head.fileSize)
    .toSorted((a, b) => a - b);
  for await (const { offset, words } of readTables(context.disk, offsets, clusterSize)) {
    context.checkpoint();
    const bits = bitsOf.get(offset) ?? 0;
    const only = (bits & (bits - 1)) === 0 ? first + 32 - Math.clz32(bits) : MANY;
    users.mark(offset, clusterSize, bits, only);
    if (context.head.header.externalDataFile) continue;
    for (let at = 0; at < words.length; at += geometry.l2EntrySize / 4) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      if (high === 0 && low === 0) continue;
      if (isCompressed(high)) {
        const length = compressedLength(geometry, high, low);
        users.mark(compressedOffset(geometry, high, low), length, bits, only);
      } else {
        const target = entryOffset(high, low);
        if (target !== 0) users.mark(target, clusterSize, bits, only);
      }
    }
  }
  return tables;
}

class ClusterUsers {
  readonly #counts: ReferenceCounts;
  readonly #blocks = new Map<number, Users>();

  constructor(counts: ReferenceCounts) {
    this.#counts = counts;
  }

  beginPass(): void {
    for (const { bits } of this.#blocks.values()) bits.fill(0);
  }

  /** Ranges that the check did not count are left out here too. */
  mark(offset: number, length: number, bits: number, only: number): void {
    const { geometry, fileLength } = this.#counts;
    if (length <= 0 || offset + length - fileLength >= geometry.clusterSize) return;
    const last = Math.floor((offset + length - 1) / geometry.clusterSize);
    for (let cluster = Math.floor(offset / geometry.clusterSize); cluster <= last; cluster += 1) {
      const block = this.#block(Math.floor(cluster / geometry.refcountEntries));
      const entry = cluster % geometry.refcountEntries;
      block.bits[entry] = (block.bits[entry] ?? 0) | bits;
      const other = block.only[entry] ?? 0;
      block.only[entry] = other === 0 || other === only ? only : MANY;
    }
  }

  /** Clusters that each of the first `roots` bits is set for. */
  countBits(roots: number): number[] {
    const used = Array.from({ length: roots }, () => 0);
    for (const { bits } of this.#blocks.values()) {
      for (const set of bits) {
        for (let rest = set; rest !== 0; rest &= rest - 1) {
          const bit = 31 - Math.clz32(rest & -rest);
          used[bit] = (used[bit] ?? 0) + 1;
        }
      }
    }
    return used;
  }

  /** Clusters that each root has alone. */
  countOnly(roots: number): number[] {
    const own = Array.from({ length: roots }, () => 0);
    for (const { only } of this.#blocks.values()) {
      for (const root of only) if (root !== 0 && root !== MANY) own[root - 1] = (own[root - 1] ?? 0) + 1;
    }
    return own;
  }

  countAll(): number {
    let all = 0;
    for (const { only } of this.#blocks.values()) for (const root of only) if (root !== 0) all += 1;
    return all;
  }

  #block(index: number): Users {
    let block = this.#blocks.get(index);
    if (block === undefined) {
      const { refcountEntries } = this.#counts.geometry;
      block = { bits: new Uint32Array(refcountEntries), only: new Uint32Array(refcountEntries) };
      this.#blocks.set(index, block);
    }
    return block;
  }
}
