import { SortedOffsets, distinctIn, sortedTargets } from "./sorted-offsets.ts";

/** Paths to L2 tables, or how many there are more or fewer; those with none are left out. */
export class TableWeights {
  readonly tables: SortedOffsets;
  /** By index of the table. */
  readonly weights: Int32Array;

  constructor(offsets = new Float64Array(0), weights = new Int32Array(0)) {
    this.tables = new SortedOffsets(offsets);
    this.weights = weights;
  }

  /** 0 for a table that is left out. */
  of(offset: number): number {
    return this.weights[this.tables.indexOf(offset)] ?? 0;
  }

  has(offset: number): boolean {
    return this.tables.has(offset);
  }

  /** The same with `weight` more paths for each of these, which are ascending. */
  plus(theirs: Float64Array, weight: number): TableWeights {
    const mine = this.tables.offsets;
    const offsets = new Float64Array(mine.length + distinctIn(theirs));
    const weights = new Int32Array(offsets.length);
    let [left, right, count] = [0, 0, 0];
    while (left < mine.length || right < theirs.length) {
      const offset = Math.min(mine[left] ?? Infinity, theirs[right] ?? Infinity);
      let sum = 0;
      if (mine[left] === offset) {
        sum = this.weights[left] ?? 0;
        left += 1;
      }
      for (; theirs[right] === offset; right += 1) sum += weight;
      if (sum === 0) continue;
      offsets[count] = offset;
      weights[count] = sum;
      count += 1;
    }
    return new TableWeights(offsets.subarray(0, count), weights.subarray(0, count));
  }
}

/** L1 entries that are taken together: merging a few at a time would cost a copy of all tables for each few. */
const BATCH_ENTRIES = 2 ** 18;

/** Counts the paths to L2 tables, L1 table by L1 table. */
export class PathCounter {
  #weights = new TableWeights();
  #batch = new Float64Array(0);
  #count = 0;

  /** One more path to a table. */
  add(target: number): void {
    if (this.#count === this.#batch.length) this.#makeRoom();
    this.#batch[this.#count++] = target;
  }

  weights(): TableWeights {
    this.#merge();
    return this.#weights;
  }

  #makeRoom(): void {
    if (this.#batch.length === BATCH_ENTRIES) {
      this.#merge();
      return;
    }
    const grown = new Float64Array(Math.max(64, this.#batch.length * 4));
    grown.set(this.#batch);
    this.#batch = grown;
  }

  #merge(): void {
    this.#weights = this.#weights.plus(sortedTargets(this.#batch.slice(0, this.#count)), 1);
    this.#count = 0;
  }
}
