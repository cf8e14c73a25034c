import type { FreeClusters } from "./space.ts";

/** So many runs are remembered: where free clusters are more scattered than that, new ones lie behind everything that is used. */
const MAX_RUNS = 2 ** 17;

/** The clusters that lie between those in use, which are told in ascending order. */
export class FreeRuns implements FreeClusters {
  #firsts: Float64Array = new Float64Array(16);
  #ends: Float64Array = new Float64Array(16);
  #count = 0;
  /** The first cluster behind those in use. */
  #end = 0;

  /** A cluster that is in use. Told again, it changes nothing. */
  use(cluster: number): void {
    if (cluster > this.#end) this.#add(this.#end, cluster);
    if (cluster >= this.#end) this.#end = cluster + 1;
  }

  nextFree(cluster: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ends[middle] ?? 0) <= cluster) low = middle + 1;
      else high = middle;
    }
    return Math.max(cluster, low < this.#count ? (this.#firsts[low] ?? 0) : this.#end);
  }

  #add(first: number, end: number): void {
    if (this.#count === MAX_RUNS) return;
    if (this.#count === this.#firsts.length) {
      this.#firsts = grown(this.#firsts);
      this.#ends = grown(this.#ends);
    }
    this.#firsts[this.#count] = first;
    this.#ends[this.#count] = end;
    this.#count += 1;
  }
}

function grown(values: Float64Array): Float64Array {
  const result = new Float64Array(values.length * 2);
  result.set(values);
  return result;
}
