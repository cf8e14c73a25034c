import { invariant } from "../errors/index.ts";
import type { RefcountArray } from "../format/index.ts";
import type { RefcountRun } from "../intent/index.ts";
import type { ChangeArray, ChangeArrays } from "./change-arrays.ts";

/** A run of host clusters. */
export type ClusterRun = readonly [first: number, count: number];

/** Entries of one refcount block that change, in order. */
export interface BlockChanges {
  readonly raise: RefcountRun[];
  readonly lower: RefcountRun[];
  /** Clusters whose refcount becomes 0. */
  readonly freed: ClusterRun[];
}

/** So many runs a block may have before each of its entries gets a number of its own. */
const MAX_RUNS = 32;

/** So often a run may lie over others: cutting them costs more than a few entries. */
const MAX_CUTS = 64;

const OVERFLOW = "a refcount change exceeds 32 bits";

/** Whether all values from `first` to before `end` are the same: each is compared with its neighbour, by a machine that is faster than a loop. */
export function isUniform(values: RefcountArray, first: number, end: number): boolean {
  const size = values.BYTES_PER_ELEMENT;
  const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const [start, last] = [first * size, (end - 1) * size];
  return end - first < 2 || bytes.compare(bytes, start + size, last + size, start, last) === 0;
}

/**
 * By how much each refcount of one block changes. A disk that was written in order
 * has a few runs in a block, which are kept as such; the entries of another
 * are counted one by one.
 */
export class BlockChange {
  readonly #arrays: ChangeArrays;
  /** Of the runs, ascending: where each begins and ends, and by how much its entries change. Two that touch differ. */
  readonly #firsts: number[] = [];
  readonly #ends: number[] = [];
  readonly #weights: number[] = [];
  /** By entry; undefined while there are runs. */
  #entries: ChangeArray | undefined;
  #cuts = 0;
  /** Nothing changes outside. */
  #low = Infinity;
  #high = 0;
  /** No stored refcount from here to before there is 0. */
  #countedFrom = 0;
  #countedTo = 0;

  readonly stored: RefcountArray;
  /** No stored refcount is 0. */
  readonly isFull: boolean;

  constructor(stored: RefcountArray, isFull: boolean, arrays: ChangeArrays) {
    this.stored = stored;
    this.isFull = isFull;
    this.#arrays = arrays;
  }

  /** The changes by entry, where they are counted so: whoever adds to them tells `touch`, and looks whether the array holds the sum. */
  get entries(): ChangeArray | undefined {
    return this.#entries;
  }

  touch(first: number, end: number): void {
    if (first < this.#low) this.#low = first;
    if (end > this.#high) this.#high = end;
  }

  /** The first entry from `first` to before `end` whose stored refcount is 0; -1 without any. */
  uncounted(first: number, end: number): number {
    if (this.isFull || (first >= this.#countedFrom && end <= this.#countedTo)) return -1;
    if (this.#entries !== undefined) return this.#uncountedOfFew(first, end);
    const found = this.stored.indexOf(0, first);
    const to = found < 0 ? this.stored.length : found;
    this.#countedFrom = first;
    this.#countedTo = to;
    return to < end ? to : -1;
  }

  /** On a disk in no order the next 0 may be far away, and is of no use for the next run. */
  #uncountedOfFew(first: number, end: number): number {
    for (let entry = first; entry < end; entry += 1) if (this.stored[entry] === 0) return entry;
    return -1;
  }

  /** Changes entries from `first` to before `end`. */
  add(first: number, end: number, weight: number): void {
    invariant(weight === (weight | 0), OVERFLOW);
    this.touch(first, end);
    if (this.#entries === undefined && this.#insert(first, end, weight)) return;
    let entries = this.asEntries();
    for (let entry = first; entry < end; entry += 1) {
      const sum = (entries[entry] ?? 0) + weight;
      entries[entry] = sum;
      if (entries[entry] !== sum) entries = this.widen(entry, sum);
    }
  }

  /** Changes an entry to what its array does not hold. Returns the array that does, from now on that of the block. */
  widen(entry: number, change: number): ChangeArray {
    const entries = this.#arrays.widened(this.asEntries(), change);
    entries[entry] = change;
    return (this.#entries = entries);
  }

  /** False where there are too many runs, or many lie over each other. */
  #insert(first: number, end: number, weight: number): boolean {
    const [firsts, ends, weights] = [this.#firsts, this.#ends, this.#weights];
    let at = firsts.length;
    while (at > 0 && (ends[at - 1] ?? 0) > first) at -= 1;
    if (at < firsts.length && (firsts[at] ?? 0) < end) return this.#insertOver(first, end, weight);
    const joinsLast = at > 0 && ends[at - 1] === first && weights[at - 1] === weight;
    const joinsNext = firsts[at] === end && weights[at] === weight;
    if (joinsLast) {
      ends[at - 1] = joinsNext ? (ends[at] ?? 0) : end;
      if (!joinsNext) return true;
      for (const list of [firsts, ends, weights]) list.splice(at, 1);
      return true;
    }
    if (joinsNext) {
      firsts[at] = first;
      return true;
    }
    if (firsts.length === MAX_RUNS) return false;
    firsts.splice(at, 0, first);
    ends.splice(at, 0, end);
    weights.splice(at, 0, weight);
    return true;
  }

  /** The same where runs lie under it: those are cut at its ends. */
  #insertOver(first: number, end: number, weight: number): boolean {
    this.#cuts += 1;
    if (this.#cuts > MAX_CUTS) return false;
    const firsts: number[] = [];
    const ends: number[] = [];
    const weights: number[] = [];
    const push = (from: number, to: number, change: number): void => {
      if (from >= to || change === 0) return;
      invariant(change === (change | 0), OVERFLOW);
      const last = ends.length - 1;
      if (ends[last] === from && weights[last] === change) {
        ends[last] = to;
        return;
      }
      firsts.push(from);
      ends.push(to);
      weights.push(change);
    };
    /** Nothing of the new run is left before it. */
    let at = first;
    for (const [run, from] of this.#firsts.entries()) {
      const to = this.#ends[run] ?? 0;
      const change = this.#weights[run] ?? 0;
      push(from, Math.min(to, first), change);
      const low = Math.max(from, first);
      if (low < end && to > first) {
        const high = Math.min(to, end);
        push(at, low, weight);
        push(low, high, change + weight);
        at = high;
      } else if (from >= end) {
        push(at, end, weight);
        at = end;
      }
      push(Math.max(from, end), to, change);
    }
    push(at, end, weight);
    if (firsts.length > MAX_RUNS) return false;
    for (const [mine, made] of [
      [this.#firsts, firsts],
      [this.#ends, ends],
      [this.#weights, weights],
    ] as const) {
      mine.splice(0, mine.length, ...made);
    }
    return true;
  }

  /** The changes by entry, from now on counted so. */
  asEntries(): ChangeArray {
    if (this.#entries !== undefined) return this.#entries;
    let entries = this.#arrays.make();
    for (const [run, first] of this.#firsts.entries()) {
      const weight = this.#weights[run] ?? 0;
      entries[first] = weight;
      if (entries[first] !== weight) entries = this.#arrays.widened(entries, weight);
      entries.fill(weight, first, this.#ends[run]);
    }
    for (const list of [this.#firsts, this.#ends, this.#weights]) list.length = 0;
    return (this.#entries = entries);
  }

  /** The change of one entry. */
  at(entry: number): number {
    return this.#entries === undefined ? this.#inRuns(entry) : (this.#entries[entry] ?? 0);
  }

  /** Where the entries from `first` on no longer change alike, at most `end`. Of runs only. */
  alikeUntil(first: number, end: number): number {
    const [firsts, ends] = [this.#firsts, this.#ends];
    let at = 0;
    while (at < ends.length && (ends[at] ?? 0) <= first) at += 1;
    const from = firsts[at] ?? end;
    return Math.min(end, from > first ? from : (ends[at] ?? end));
  }

  #inRuns(entry: number): number {
    for (let at = this.#ends.length - 1; at >= 0 && entry < (this.#ends[at] ?? 0); at -= 1) {
      if (entry >= (this.#firsts[at] ?? 0)) return this.#weights[at] ?? 0;
    }
    return 0;
  }

  /** Runs of entries that change alike and were alike, in order. */
  forEachRun(onRun: (first: number, end: number, from: number, change: number) => void): void {
    const stored = this.stored;
    const each = (first: number, end: number, change: number): void => {
      if (isUniform(stored, first, end)) {
        onRun(first, end, stored[first] ?? 0, change);
        return;
      }
      for (let entry = first; entry < end;) {
        const from = entry;
        do entry += 1;
        while (entry < end && stored[entry] === stored[from]);
        onRun(from, entry, stored[from] ?? 0, change);
      }
    };
    const entries = this.#entries;
    if (entries === undefined) {
      for (const [run, first] of this.#firsts.entries()) {
        each(first, this.#ends[run] ?? 0, this.#weights[run] ?? 0);
      }
      return;
    }
    const high = this.#high;
    for (let entry = this.#low; entry < high;) {
      const change = entries[entry] ?? 0;
      if (change === 0) {
        entry += 1;
        continue;
      }
      const first = entry;
      const from = stored[first];
      do entry += 1;
      while (entry < high && entries[entry] === change && stored[entry] === from);
      onRun(first, entry, from ?? 0, change);
    }
  }
}
