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
    return SortedOffsets.ofSorted(sortedTargets(offsets));
  }

  /** Takes ascending offsets, some of them more than once. */
  static ofSorted(sorted: Float64Array): SortedOffsets {
    const count = distinctIn(sorted);
    if (count === sorted.length) return new SortedOffsets(sorted);
    const distinct = new Float64Array(count);
    let next = 0;
    for (let index = 0; index < sorted.length; index += 1) {
      if (index > 0 && sorted[index] === sorted[index - 1]) continue;
      distinct[next] = sorted[index] ?? 0;
      next += 1;
    }
    return new SortedOffsets(distinct);
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

  with(others: SortedOffsets): SortedOffsets {
    if (others.length === 0) return this;
    const both = new Float64Array(this.length + others.length);
    both.set(this.offsets);
    both.set(others.offsets, this.length);
    return SortedOffsets.of(both);
  }

  without(others: SortedOffsets): SortedOffsets {
    return new SortedOffsets(this.offsets.filter((offset) => !others.has(offset)));
  }

  and(others: SortedOffsets): SortedOffsets {
    return new SortedOffsets(this.offsets.filter((offset) => others.has(offset)));
  }
}

/** How many different ones there are among ascending offsets. */
export function distinctIn(sorted: Float64Array): number {
  let count = 0;
  for (let index = 0; index < sorted.length; index += 1) {
    if (index === 0 || sorted[index] !== sorted[index - 1]) count += 1;
  }
  return count;
}

/**
 * Offsets in ascending order, as often as they occur; 0 stands for none. A table
 * may have four million: there is one copy, which is mostly in order already.
 */
export function sortedTargets(offsets: Float64Array): Float64Array {
  let count = 0;
  for (let index = 0; index < offsets.length; index += 1) if (offsets[index] !== 0) count += 1;
  const found = new Float64Array(count);
  let isOrdered = true;
  count = 0;
  for (let index = 0; index < offsets.length; index += 1) {
    const offset = offsets[index] ?? 0;
    if (offset === 0) continue;
    if (count > 0 && offset < (found[count - 1] ?? 0)) isOrdered = false;
    found[count] = offset;
    count += 1;
  }
  // oxlint-disable-next-line unicorn/no-array-sort -- nobody else has it yet
  return isOrdered ? found : found.sort();
}
