import { plainCluster, plainRun } from "./entries.ts";
import type { Geometry } from "./geometry.ts";
import { RUN_WORDS } from "./table-kernel.ts";

const WORD = 2 ** 32;
/** Where the clusters end that `plainCluster` knows. */
const PLAIN_END = 2 ** 31;

/** Where the entries of an L2 table are found: as runs, see `packTable`, or one by one. */
export interface TableEntries {
  readonly runs: Uint32Array | undefined;
  /** Pairs of words in host order. */
  readonly words: Uint32Array;
}

/**
 * Goes over the entries of L2 tables, those in a row at once. Its fields are the
 * entry that `next` has come to: a pass over millions of them allocates nothing.
 */
export class EntryRuns {
  /** The number of the first entry. */
  entry = 0;
  /** How many: of plain ones, whose clusters follow each other and that are else alike, or that are all zero; else one. */
  count = 0;
  high = 0;
  low = 0;
  /** What `plainCluster` says of the first: 0 or less for one that is not plain. */
  cluster = 0;

  readonly #clusterBits: number;
  readonly #clusterSize: number;
  readonly #step: number;
  #words: Uint32Array = new Uint32Array(0);
  #runs: Uint32Array | undefined;
  #end = 0;
  /** The place in the runs, and how many entries of the run before it are to be given one by one. */
  #at = 0;
  #singles = 0;

  constructor({ clusterBits, clusterSize, l2EntrySize }: Geometry) {
    this.#clusterBits = clusterBits;
    this.#clusterSize = clusterSize;
    this.#step = l2EntrySize / 4;
  }

  /** Begins with the entries of a table, or those from `first` to before `end` of it. */
  begin(table: TableEntries, first = 0, end = Infinity): void {
    this.#runs = first === 0 && end === Infinity ? table.runs : undefined;
    this.#at = 0;
    this.#singles = 0;
    this.entry = first;
    this.count = 0;
    if (this.#runs === undefined) {
      this.#words = table.words;
      this.#end = Math.min(end, this.#words.length / this.#step);
    }
  }

  /** False when there are no more. */
  next(): boolean {
    this.entry += this.count;
    const runs = this.#runs;
    return runs === undefined ? this.#nextOfWords() : this.#nextOfRuns(runs);
  }

  #nextOfWords(): boolean {
    if (this.entry >= this.#end) return false;
    const words = this.#words;
    const step = this.#step;
    const at = this.entry * step;
    const high = words[at] ?? 0;
    const low = words[at + 1] ?? 0;
    const cluster = plainCluster(this.#clusterBits, high, low);
    this.high = high;
    this.low = low;
    this.cluster = cluster;
    // Where clusters are in no order, most runs end here.
    const goesOn = cluster > 0 && words[at + step + 1] === low + this.#clusterSize;
    this.count = goesOn ? plainRun(words, at, step, this.#clusterSize, this.#end - this.entry) : 1;
    return true;
  }

  #nextOfRuns(runs: Uint32Array): boolean {
    if (this.#singles > 0) {
      this.#singles -= 1;
      this.low += runs[this.#at - 1] ?? 0;
      if (this.low >= WORD) {
        this.low -= WORD;
        this.high = (this.high + 1) % WORD;
      }
      this.cluster = plainCluster(this.#clusterBits, this.high, this.low);
      return true;
    }
    if (this.#at === runs.length) return false;
    const at = this.#at;
    this.#at += RUN_WORDS;
    const count = runs[at] ?? 0;
    const by = runs[at + 3] ?? 0;
    this.high = runs[at + 1] ?? 0;
    this.low = runs[at + 2] ?? 0;
    this.cluster = plainCluster(this.#clusterBits, this.high, this.low);
    // Below that no carry reaches the bits above the offset.
    const isPlain = this.cluster > 0 && by !== 0 && this.cluster + count <= PLAIN_END;
    const isNothing = by === 0 && (this.high | this.low) === 0;
    this.count = isPlain || isNothing ? count : 1;
    this.#singles = count - this.count;
    return true;
  }
}
