import { invariant } from "../../errors/index.ts";
import type { BlockWindow } from "../refcount-blocks.ts";
import { ChunkTable, OUTSIDE_WINDOW } from "./chunk-table.ts";
import type { ReferenceCounts } from "./reference-counts.ts";

/** Several roots use a cluster. */
const MANY = 2 ** 32 - 1;
/** So many chunks that were marked are remembered; of more, all are looked through. */
const MAX_REMEMBERED = 2 ** 16;

/** What is counted of a root, in clusters. */
export interface RootClusters {
  used: number;
  exclusive: number;
}

const isOneBit = (bits: number): boolean => (bits & (bits - 1)) === 0;
export const lowestBit = (bits: number): number => 31 - Math.clz32(bits & -bits);

/**
 * Which roots use each cluster of a window: a bit for each of the few roots that
 * are looked at together, and when there are more than those, the only root
 * that used it up to now.
 */
export class ClusterUsers {
  readonly #counts: ReferenceCounts;
  readonly #table: ChunkTable;
  readonly #hasMany: boolean;
  #end = 0;
  /** Places of chunks with marks since the last `countMarked`, some more than once. */
  #marked: number[] = [];
  #lastChunk = -1;
  #lastPlace = OUTSIDE_WINDOW;

  /** In at most `maxBytes`. `hasMany` when the roots are looked at in several groups. */
  constructor(counts: ReferenceCounts, hasMany: boolean, maxBytes: number) {
    const bytes = hasMany ? 8 : 4;
    // Nobody needs what was counted any more: its memory is used again.
    counts.begin({ first: 0, end: 0 });
    this.#counts = counts;
    this.#hasMany = hasMany;
    this.#table = new ChunkTable(
      counts.geometry,
      { small: bytes, large: bytes },
      counts.clusters,
      maxBytes,
      counts.table.bytes.buffer,
    );
  }

  /** Chunks that have room. */
  get room(): number {
    return this.#table.capacity / this.#table.chunkClusters;
  }

  begin(window: BlockWindow): void {
    this.#table.begin(window);
    this.#end = window.end;
    this.#forgetMarked();
  }

  /** Marks a range. Those that the check did not count are left out here too. `first` is the number of the root that has bit 0. */
  mark(offset: number, length: number, bits: number, first: number): void {
    const { geometry, fileLength } = this.#counts;
    if (length <= 0 || offset + length - fileLength >= geometry.clusterSize) return;
    const last = Math.floor((offset + length - 1) / geometry.clusterSize);
    for (let cluster = Math.floor(offset / geometry.clusterSize); cluster <= last; cluster += 1) {
      this.markCluster(cluster, bits, first);
    }
  }

  /** Marks one cluster that lies in the file. */
  markCluster(cluster: number, bits: number, first: number): void {
    const { chunkClusters, words } = this.#table;
    const chunk = Math.floor(cluster / chunkClusters);
    if (chunk !== this.#lastChunk) this.#findChunk(chunk);
    if (this.#lastPlace === OUTSIDE_WINDOW) return;
    const at = this.#lastPlace / 8 + (cluster % chunkClusters);
    const before = words[at] ?? 0;
    if ((before | bits) === before) return;
    words[at] = before | bits;
    if (!this.#hasMany) return;
    const only = isOneBit(bits) ? first + lowestBit(bits) + 1 : MANY;
    const other = words[at + chunkClusters] ?? 0;
    words[at + chunkClusters] = other === 0 || other === only ? only : MANY;
  }

  #findChunk(chunk: number): void {
    this.#lastPlace = this.#table.make(chunk);
    this.#lastChunk = chunk;
    // Others may have moved when one did not fit: the window is found to be wrong then, in `countMarked`.
    if (!this.#hasMany || this.#lastPlace === OUTSIDE_WINDOW) return;
    if (this.#marked.length < MAX_REMEMBERED) this.#marked.push(this.#lastPlace);
  }

  #forgetMarked(): void {
    this.#marked = [];
    this.#lastChunk = -1;
  }

  /** Counts the marks of these roots and takes them away. */
  countMarked(roots: readonly RootClusters[]): void {
    invariant(this.#table.window.end === this.#end, "more clusters are in use than were counted");
    if (!this.#hasMany) return;
    const { words, chunkClusters } = this.#table;
    const used = new Float64Array(32);
    for (const place of this.#places()) {
      for (let at = place / 8; at < place / 8 + chunkClusters; at += 1) {
        for (let rest = words[at] ?? 0; rest !== 0; rest &= rest - 1) {
          const bit = lowestBit(rest);
          used[bit] = (used[bit] ?? 0) + 1;
        }
        words[at] = 0;
      }
    }
    for (const [bit, root] of roots.entries()) root.used += used[bit] ?? 0;
    this.#forgetMarked();
  }

  #places(): readonly number[] {
    if (this.#marked.length < MAX_REMEMBERED) return this.#marked;
    return Array.from(this.#table.chunks(), (chunk) => this.#table.find(chunk));
  }

  /** Counts what each root has alone; returns how many clusters any has. */
  countAll(roots: readonly RootClusters[]): number {
    return this.#hasMany ? this.#countOnly(roots) : this.#countBits(roots);
  }

  #countOnly(roots: readonly RootClusters[]): number {
    const { words, chunkClusters } = this.#table;
    let all = 0;
    for (const chunk of this.#table.chunks()) {
      const at = this.#table.find(chunk) / 8 + chunkClusters;
      for (let index = at; index < at + chunkClusters; index += 1) {
        const only = words[index] ?? 0;
        if (only === 0) continue;
        all += 1;
        const root = only === MANY ? undefined : roots[only - 1];
        if (root !== undefined) root.exclusive += 1;
      }
    }
    return all;
  }

  #countBits(roots: readonly RootClusters[]): number {
    const { words, chunkClusters } = this.#table;
    const used = new Float64Array(32);
    const exclusive = new Float64Array(32);
    let all = 0;
    for (const chunk of this.#table.chunks()) {
      const at = this.#table.find(chunk) / 8;
      for (let index = at; index < at + chunkClusters; index += 1) {
        const bits = words[index] ?? 0;
        if (bits === 0) continue;
        all += 1;
        if (isOneBit(bits)) {
          const bit = lowestBit(bits);
          exclusive[bit] = (exclusive[bit] ?? 0) + 1;
        }
        for (let rest = bits; rest !== 0; rest &= rest - 1) {
          const bit = lowestBit(rest);
          used[bit] = (used[bit] ?? 0) + 1;
        }
      }
    }
    for (const [bit, root] of roots.entries()) {
      root.used += used[bit] ?? 0;
      root.exclusive += exclusive[bit] ?? 0;
    }
    return all;
  }
}
