import { MAX_REFCOUNT_TABLE_BYTES } from "../format/index.ts";
import { FreeRuns } from "./free-clusters.ts";

/** More findings say no more. */
const MAX_FINDINGS = 10;
/** One more than the slots of the largest table: beyond that it is refused, whatever else is missing. */
const MAX_MISSING = MAX_REFCOUNT_TABLE_BYTES / 8 + 1;

/** Where the stored refcounts differ from what the tables refer to, in the windows that were compared. */
export class DifferenceTotals {
  /** Refcounts that stay as they are, because a change was not allowed. */
  readonly left = { tooHigh: 0, tooLow: 0 };
  /** Clusters that are not counted and to which nothing refers. */
  readonly free = new FreeRuns();
  leakedClusters = 0;
  /** Of clusters in use. */
  tooHigh = 0;
  tooLow = 0;
  /** Clusters in use of which no refcount is stored. */
  uncounted = 0;
  readonly #low = new Runs();
  readonly #high = new Runs();
  readonly #missing: number[] = [];

  /** Blocks that have something to count and are not stored, ascending. */
  get missing(): readonly number[] {
    return this.#missing;
  }

  /** The first differences in words: what endangers data before what only takes space. */
  get findings(): readonly string[] {
    return [...this.#low.words(), ...this.#high.words()].slice(0, MAX_FINDINGS);
  }

  /** A refcount that changes; undefined where none is stored. Clusters come in ascending order. */
  add(cluster: number, refcount: number | undefined, references: number): void {
    // A missing block is one finding, not one for each cluster that it should count.
    if (refcount === undefined) {
      this.uncounted += 1;
      return;
    }
    if (references > refcount) this.tooLow += 1;
    else if (references > 0) this.tooHigh += 1;
    else this.leakedClusters += 1;
    (references > refcount ? this.#low : this.#high).add(cluster, refcount, references);
  }

  addMissing(index: number): void {
    if (this.#missing.length < MAX_MISSING) this.#missing.push(index);
  }
}

interface Run {
  readonly first: number;
  last: number;
  readonly refcount: number;
  readonly references: number;
}

/** Differences of the same kind in a row are one finding; only the first are kept. */
class Runs {
  readonly #runs: Run[] = [];

  add(cluster: number, refcount: number, references: number): void {
    const run = this.#runs.at(-1);
    if (run?.last === cluster - 1 && run.refcount === refcount && run.references === references) {
      run.last = cluster;
    } else if (this.#runs.length <= MAX_FINDINGS) {
      this.#runs.push({ first: cluster, last: cluster, refcount, references });
    }
  }

  words(): string[] {
    return this.#runs.map(({ first, last, refcount, references }) => {
      const [who, is, has] =
        first === last ? [`cluster ${first}`, "is", "has"] : [`clusters ${first} to ${last}`, "are", "have"];
      if (references === 0) return `${who} ${is} leaked (refcount ${refcount})`;
      return `${who} ${has} refcount ${refcount} and ${references} reference${references === 1 ? "" : "s"}`;
    });
  }
}
