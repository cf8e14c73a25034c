/**
 * The oracle of src/plan/refcount-changes.ts: the same answers, one cluster and
 * one entry at a time, from a map. Slow, and simple enough to be read at a glance.
 */
import { QcowalError } from "../../../src/errors/index.ts";
import { type L2Reference, type TableEntries, decodeL2Entry, isCopied } from "../../../src/format/index.ts";
import type { Refcounts } from "../../../src/image/index.ts";
import type { RefcountRun } from "../../../src/intent/index.ts";
import type { BlockChanges, ClusterRun } from "../../../src/plan/block-change.ts";
import type { OnWrongFlags } from "../../../src/plan/compare-run.ts";

export class RefcountChanges {
  readonly stored: Refcounts;
  readonly #image: string;
  readonly #changes = new Map<number, number>();
  readonly #taken = new Set<number>();
  readonly #touchedBlocks = new Set<number>();

  constructor(image: string, stored: Refcounts) {
    this.#image = image;
    this.stored = stored;
  }

  get blockIndexes(): readonly number[] {
    return [...this.#touchedBlocks].toSorted((a, b) => a - b);
  }

  after(cluster: number): number {
    return this.stored.get(cluster) + (this.#changes.get(cluster) ?? 0);
  }

  covers(): boolean {
    return true;
  }

  giveUp(): void {
    this.#changes.clear();
  }

  add(cluster: number, weight: number): void {
    this.#changes.set(cluster, (this.#changes.get(cluster) ?? 0) + weight);
    this.#touchedBlocks.add(Math.floor(cluster / this.stored.geometry.refcountEntries));
  }

  take(cluster: number): void {
    this.#taken.add(cluster);
    this.add(cluster, 1);
  }

  addReferences(cluster: number, weight: number): void {
    if (this.stored.get(cluster) === 0) throw this.#uncounted(cluster);
    this.add(cluster, weight);
  }

  addL2Table(offset: number, { words }: TableEntries, weight: number): void {
    for (const { reference } of this.#entries(offset, words)) {
      for (let cluster = reference.first; cluster <= reference.last; cluster += 1) {
        this.addReferences(cluster, weight);
      }
    }
  }

  compareFlags(
    offset: number,
    { words }: TableEntries,
    first: number,
    end: number,
    onWrong: OnWrongFlags,
  ): number {
    let newlyExclusive = 0;
    for (const { entry, high, reference } of this.#entries(offset, words)) {
      if (entry < first || entry >= end) continue;
      const after = reference.kind === "standard" ? this.after(reference.first) : 2;
      for (let cluster = reference.first; cluster <= reference.last; cluster += 1) {
        if (this.#taken.has(cluster)) throw this.#uncounted(cluster);
      }
      if (after === 0) throw this.#uncounted(reference.first);
      if ((after === 1) !== isCopied(high)) onWrong(entry, 1, after === 1);
      if (after === 1 && this.isNewlyExclusive(reference.first)) newlyExclusive += 1;
    }
    return newlyExclusive;
  }

  isNewlyExclusive(cluster: number): boolean {
    return this.after(cluster) === 1 && this.stored.get(cluster) > 1;
  }

  newlyExclusive(): number {
    return [...this.#changes.keys()].filter((cluster) => this.isNewlyExclusive(cluster)).length;
  }

  count(): number {
    return [...this.#changes.values()].filter((change) => change !== 0).length;
  }

  uncountedBlock(offset: number): QcowalError {
    return this.damaged(`the refcount block at ${offset} is not counted`);
  }

  damaged(what: string): QcowalError {
    return new QcowalError("IMAGE_INVALID", `${this.#image}: ${what}`);
  }

  changesIn(index: number): BlockChanges {
    const { refcountEntries, refcountMax } = this.stored.geometry;
    const raise: RefcountRun[] = [];
    const lower: RefcountRun[] = [];
    const freed: ClusterRun[] = [];
    for (let entry = 0; entry < refcountEntries; entry += 1) {
      const cluster = index * refcountEntries + entry;
      const from = this.stored.get(cluster);
      const to = this.after(cluster);
      if (from === to) continue;
      if (to < 0) throw this.damaged(`the refcount of cluster ${cluster} falls below 0`);
      if (to > refcountMax) throw new QcowalError("REFCOUNT_OVERFLOW", `cluster ${cluster}`);
      const runs = to > from ? raise : lower;
      const last = runs.at(-1);
      if (last !== undefined && last[0] + last[1] === entry && last[2] === from && last[3] === to) {
        runs[runs.length - 1] = [last[0], last[1] + 1, from, to];
      } else runs.push([entry, 1, from, to]);
      if (to === 0) freed.push([cluster, 1]);
    }
    return { raise, lower, freed };
  }

  *#entries(offset: number, words: Uint32Array) {
    const { geometry } = this.stored;
    const step = geometry.l2EntrySize / 4;
    for (let entry = 0; entry * step < words.length; entry += 1) {
      const high = words[entry * step] ?? 0;
      const reference: L2Reference = { kind: "none", first: 0, last: 0 };
      decodeL2Entry(geometry, high, words[entry * step + 1] ?? 0, reference);
      if (reference.kind === "invalid") throw this.damaged(`L2 table at ${offset}: entry ${entry}`);
      if (reference.kind !== "none") yield { entry, high, reference };
    }
  }

  #uncounted(cluster: number): QcowalError {
    return this.damaged(`cluster ${cluster} is in use but its refcount is 0`);
  }
}
