import { invariant } from "../../errors/index.ts";
import { ChunkTable, OUTSIDE_WINDOW } from "./chunk-table.ts";
import type { BlockWindow } from "../refcount-window.ts";
import type { ReferenceCounts } from "./reference-counts.ts";

/** Several roots use a cluster. */
const MANY = 2 ** 32 - 1;
/** So many chunks that were marked are remembered; of more, all are looked through. */
const MAX_REMEMBERED = 2 ** 16;

/** Numbers of the bits that are set. */
export function* rootsIn(bits: number): Generator<number> {
  for (let rest = bits; rest !== 0; rest &= rest - 1) yield 31 - Math.clz32(rest & -rest);
}

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
    this.#marked = [];
  }

  /** Marks a range. Those that the check did not count are left out here too. `first` is the number of the root that has bit 0. */
  mark(offset: number, length: number, bits: number, first: number): void {
    const { geometry, fileLength } = this.#counts;
    if (length <= 0 || offset + length - fileLength >= geometry.clusterSize) return;
    const { chunkClusters, words } = this.#table;
    const last = Math.floor((offset + length - 1) / geometry.clusterSize);
    for (let cluster = Math.floor(offset / geometry.clusterSize); cluster <= last; cluster += 1) {
      const place = this.#table.make(Math.floor(cluster / chunkClusters));
      if (place === OUTSIDE_WINDOW) continue;
      if (place !== this.#marked.at(-1) && this.#marked.length < MAX_REMEMBERED) this.#marked.push(place);
      const at = place / 8 + (cluster % chunkClusters);
      const before = words[at] ?? 0;
      if ((before | bits) === before) continue;
      words[at] = before | bits;
      if (!this.#hasMany) continue;
      const only = (bits & (bits - 1)) === 0 ? first + 32 - Math.clz32(bits) : MANY;
      const other = words[at + chunkClusters] ?? 0;
      words[at + chunkClusters] = other === 0 || other === only ? only : MANY;
    }
  }

  /** Counts the marks of these roots and takes them away. */
  countMarked(roots: readonly { used: number; exclusive: number }[]): void {
    invariant(this.#table.window.end === this.#end, "more clusters are in use than were counted");
    if (!this.#hasMany) return;
    for (const place of this.#places()) {
      this.#each(place / 8, (bits, at) => {
        this.#table.words[at] = 0;
        for (const root of rootsIn(bits)) (roots[root] ?? NOBODY).used += 1;
      });
    }
    this.#marked = [];
  }

  /** Counts what each root has alone; returns how many clusters any has. */
  countAll(roots: readonly { used: number; exclusive: number }[]): number {
    let all = 0;
    for (const chunk of this.#table.chunks()) {
      const at = this.#table.find(chunk) / 8;
      this.#each(this.#hasMany ? at + this.#table.chunkClusters : at, (value) => {
        all += 1;
        if (this.#hasMany) {
          if (value !== MANY) (roots[value - 1] ?? NOBODY).exclusive += 1;
          return;
        }
        const isAlone = (value & (value - 1)) === 0;
        for (const root of rootsIn(value)) {
          (roots[root] ?? NOBODY).used += 1;
          if (isAlone) (roots[root] ?? NOBODY).exclusive += 1;
        }
      });
    }
    return all;
  }

  #places(): readonly number[] {
    if (this.#marked.length < MAX_REMEMBERED) return this.#marked;
    return Array.from(this.#table.chunks(), (chunk) => this.#table.find(chunk));
  }

  /** Calls `visit` for the words of a chunk that are not 0. */
  #each(first: number, visit: (value: number, at: number) => void): void {
    const { words, chunkClusters } = this.#table;
    for (let at = first; at < first + chunkClusters; at += 1) {
      const value = words[at] ?? 0;
      if (value !== 0) visit(value, at);
    }
  }
}

const NOBODY = { used: 0, exclusive: 0 };
