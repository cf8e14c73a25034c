/**
 * Distinct offsets in ascending order. A disk has up to a million L2 tables: a
 * flat array holds them in a tenth of what a set needs, and is the order in which they are read.
 */
export class SortedOffsets {
  readonly offsets: Float64Array;
  /** Where the last one was found: the next that is asked for mostly is its neighbour. */
  #near = 0;

  /** `offsets` must be ascending and distinct. */
  constructor(offsets: Float64Array) {
    this.offsets = offsets;
  }

  /** Takes offsets in any order; 0 stands for none. */
  static of(offsets: Float64Array): SortedOffsets {
    const sorted = offsets.filter((offset) => offset !== 0).toSorted();
    let count = 0;
    for (let index = 0; index < sorted.length; index += 1) {
      const offset = sorted[index] ?? 0;
      if (count > 0 && sorted[count - 1] === offset) continue;
      sorted[count] = offset;
      count += 1;
    }
    return new SortedOffsets(sorted.slice(0, count));
  }

  get length(): number {
    return this.offsets.length;
  }

  has(offset: number): boolean {
    return this.indexOf(offset) >= 0;
  }

  /** -1 for an offset that is not among them. */
  indexOf(offset: number): number {
    const { offsets } = this;
    for (let near = this.#near; near < this.#near + 2; near += 1) {
      if (offsets[near] === offset) return (this.#near = near);
    }
    const index = this.firstFrom(offset);
    if (offsets[index] !== offset) return -1;
    return (this.#near = index);
  }

  /** Index of the first that is not below `offset`. */
  firstFrom(offset: number): number {
    let low = 0;
    let high = this.offsets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.offsets[middle] ?? 0) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  without(others: SortedOffsets): SortedOffsets {
    return new SortedOffsets(this.offsets.filter((offset) => !others.has(offset)));
  }

  and(others: SortedOffsets): SortedOffsets {
    return new SortedOffsets(this.offsets.filter((offset) => others.has(offset)));
  }
}
