import {
  compressedLength,
  compressedOffset,
  entryOffset,
  isCompressed,
  plainCluster,
} from "../../format/index.ts";
import { readTables } from "../read-table.ts";
import type { BlockWindow } from "../refcount-blocks.ts";
import type { PassedOver } from "./check-in-passes.ts";
import { ClusterUsers, lowestBit } from "./cluster-users.ts";
import { type CheckContext, readEntries } from "./context.ts";
import { l1Segments } from "./l1-segments.ts";
import { l2OffsetsIn } from "./l1-walk.ts";
import { L2TableCollector, type L2Tables, tablesWhere } from "./l2-tables.ts";
import { lowerBound } from "./lower-bound.ts";

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

/** So many roots have a bit each at a time; more take more passes, never more memory. */
const ROOTS_AT_ONCE = 31;

/**
 * Undefined where L1 tables overlap: what belongs to whom cannot be said, and
 * every snapshot may have all of the file for a table.
 */
export async function measureUsage(context: CheckContext, passed: PassedOver): Promise<Usage | undefined> {
  if (hasOverlaps(context)) return undefined;
  const { counts, chunks, usedClusters } = passed;
  const { clusterSize } = counts.geometry;
  const { roots, memory } = context;
  const users = new ClusterUsers(counts, roots.length > ROOTS_AT_ONCE, memory.counts);
  const own = Array.from(roots, () => ({ used: 0, exclusive: 0, tables: 0 }));
  let usedByRoots = 0;
  for (let window: BlockWindow = { first: 0, end: 0 }; window.end !== Infinity;) {
    window = chunks.next(window.end, users.room);
    users.begin(window);
    for (let first = 0; first < roots.length; first += ROOTS_AT_ONCE) {
      const some = own.slice(first, first + ROOTS_AT_ONCE);
      await new Marking(context, passed, users, first).mark(window, some);
      users.countMarked(some);
    }
    usedByRoots += users.countAll(own);
  }
  return {
    roots: roots.map(({ snapshot }, index) => {
      const { used = 0, tables = 0, exclusive = 0 } = own[index] ?? {};
      const occupied = {
        exclusiveBytes: exclusive * clusterSize,
        sharedBytes: (used - exclusive) * clusterSize,
        tableBytes: tables * clusterSize,
      };
      return snapshot === undefined ? occupied : { snapshot, ...occupied };
    }),
    metadataBytes: (usedClusters - usedByRoots) * clusterSize,
    usedBytes: usedClusters * clusterSize,
  };
}

function hasOverlaps({ roots, findings }: CheckContext): boolean {
  for (const { weight, offset } of l1Segments(roots, 8)) {
    if (weight === 1) continue;
    const what = "L1 tables overlap: what each snapshot occupies cannot be said";
    findings.add("note", "summary", () => ({ where: "usage", offset, what }));
    return true;
  }
  return false;
}

/** Marks the clusters of a window that a few roots use, from root `first` on. */
class Marking {
  readonly #context: CheckContext;
  readonly #passed: PassedOver;
  readonly #users: ClusterUsers;
  readonly #first: number;

  constructor(context: CheckContext, passed: PassedOver, users: ClusterUsers, first: number) {
    this.#context = context;
    this.#passed = passed;
    this.#users = users;
    this.#first = first;
  }

  /** In the first window the tables of each root are counted too, in clusters. */
  async mark(window: BlockWindow, own: readonly { tables: number }[]): Promise<void> {
    for (let from = 0; from !== Infinity;) {
      const tables = await this.#collect(own, window.first === 0 && from === 0, from);
      if (window.first === 0) {
        for (const bits of tables.marks) {
          for (let rest = bits; rest !== 0; rest &= rest - 1) {
            const root = own[lowestBit(rest)];
            if (root !== undefined) root.tables += 1;
          }
        }
      }
      await this.#markTables(tables, window);
      from = tables.next;
    }
  }

  /** Gathers the L2 tables of these roots, with a bit for each root that has one. */
  async #collect(own: readonly { tables: number }[], isFirst: boolean, from: number): Promise<L2Tables> {
    const { memory, roots, head } = this.#context;
    const { clusterSize } = head.header.geometry;
    const tables = new L2TableCollector(from, memory.tables, (one, other) => one | other);
    for (const [index, mine] of own.entries()) {
      const { offset, entries } = roots[this.#first + index] ?? { offset: 0, entries: 0 };
      const bit = 2 ** index;
      if (from === 0) this.#users.mark(offset, entries * 8, bit, this.#first);
      if (isFirst) mine.tables += Math.ceil((entries * 8) / clusterSize);
      for await (const { words } of readEntries(this.#context, offset, entries)) {
        for (const table of l2OffsetsIn(words)) tables.add(table, 0, bit);
      }
    }
    return tables.finish();
  }

  async #markTables(tables: L2Tables, window: BlockWindow): Promise<void> {
    const { offsets, marks } = tables;
    const { disk, head, checkpoint } = this.#context;
    const { geometry, externalDataFile } = head.header;
    const { clusterSize } = geometry;
    for (const [index, offset] of offsets.entries()) {
      this.#users.mark(offset, clusterSize, marks[index] ?? 0, this.#first);
    }
    if (externalDataFile) return;
    const numbers = tablesWhere(tables, (index) => this.#isWanted(offsets[index] ?? 0, window));
    const wanted = Float64Array.from(numbers, (index) => offsets[index] ?? 0);
    let next = 0;
    for await (const { words } of readTables(disk, wanted, geometry)) {
      checkpoint();
      this.#markBelow(words, marks[numbers[next] ?? 0] ?? 0);
      next += 1;
    }
  }

  #isWanted(offset: number, { first, end }: BlockWindow): boolean {
    if (offset >= this.#context.head.fileSize) return false;
    const { groups, reach } = this.#passed;
    if (groups.all === undefined || (first === 0 && end === Infinity)) return true;
    return reach.meets(lowerBound(groups.all.offsets, offset), first, end);
  }

  #markBelow(words: Uint32Array, bits: number): void {
    const { geometry } = this.#context.head.header;
    const { clusterBits, clusterSize, extendedL2 } = geometry;
    const plainEnd = extendedL2 ? 0 : Math.ceil(this.#passed.counts.fileLength / clusterSize);
    for (let at = 0; at < words.length; at += geometry.l2EntrySize / 4) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      const cluster = plainCluster(clusterBits, high, low);
      if (cluster > 0 && cluster < plainEnd) {
        this.#users.markCluster(cluster, bits, this.#first);
        continue;
      }
      if (high === 0 && low === 0) continue;
      if (isCompressed(high)) {
        // With subclusters it says nothing, and was not counted.
        if (extendedL2 && ((words[at + 2] ?? 0) | (words[at + 3] ?? 0)) !== 0) continue;
        const length = compressedLength(geometry, high, low);
        this.#users.mark(compressedOffset(geometry, high, low), length, bits, this.#first);
      } else {
        const target = entryOffset(high, low);
        if (target !== 0) this.#users.mark(target, clusterSize, bits, this.#first);
      }
    }
  }
}
