/** L2 tables in file order. */
export interface L2Tables {
  /** Host offsets, ascending and distinct. */
  readonly offsets: Float64Array;
  /** How many L1 entries lead to each. */
  readonly paths: Float64Array;
  /** How many of those are the active layer's; or what else was asked for. */
  readonly marks: Uint32Array;
  /** Where those begin that did not fit; Infinity when all did. */
  readonly next: number;
}

export const NO_TABLES: L2Tables = {
  offsets: new Float64Array(0),
  paths: new Float64Array(0),
  marks: new Uint32Array(0),
  next: Infinity,
};

/** Different ones that are gathered before they are put in order. */
const MAX_RUN = 2 ** 18;
const LEAST_RUN = 2 ** 10;
const NONE = -1;

type Combine = (one: number, other: number) => number;

/**
 * Gathers the L2 tables from an offset on that L1 entries lead to, whatever their
 * number: when there are more than have room, the last of them are left for
 * another time.
 */
export class L2TableCollector {
  readonly #from: number;
  readonly #most: number;
  #next = Infinity;
  #tables: Omit<L2Tables, "next"> = NO_TABLES;
  readonly #combine: Combine;
  #run: Run;

  /** Of tables below `from` nothing is kept. `combine` makes one of two marks of a table. */
  constructor(from: number, most: number, combine: Combine = (one, other) => one + other) {
    this.#from = from;
    this.#most = most;
    this.#combine = combine;
    this.#run = new Run(LEAST_RUN, combine);
  }

  add(offset: number, paths: number, marks: number): void {
    if (offset < this.#from || offset >= this.#next) return;
    this.#run.add(offset, paths, marks);
    if (!this.#run.isFull) return;
    if (this.#run.length >= MAX_RUN) this.#settle();
    else this.#run = this.#run.larger();
  }

  finish(): L2Tables {
    this.#settle();
    return { ...this.#tables, next: this.#next };
  }

  /** Puts the run in order among the others. */
  #settle(): void {
    const run = this.#run;
    const added = run.offsets();
    const old = this.#tables;
    const room = Math.min(this.#most, old.offsets.length + added.length) + 1;
    const offsets = new Float64Array(room);
    const paths = new Float64Array(room);
    const marks = new Uint32Array(room);
    let [left, right, count] = [0, 0, 0];
    while (count < room && (left < old.offsets.length || right < added.length)) {
      const offset = Math.min(old.offsets[left] ?? Infinity, added[right] ?? Infinity);
      offsets[count] = offset;
      if (old.offsets[left] === offset) {
        paths[count] = old.paths[left] ?? 0;
        marks[count] = old.marks[left] ?? 0;
        left += 1;
      }
      if (added[right] === offset) {
        const found = run.of(offset);
        paths[count] = (paths[count] ?? 0) + found.paths;
        marks[count] = this.#combine(marks[count] ?? 0, found.marks);
        right += 1;
      }
      count += 1;
    }
    if (count > this.#most) this.#next = offsets[this.#most] ?? Infinity;
    const kept = Math.min(count, this.#most);
    this.#tables = {
      offsets: offsets.subarray(0, kept),
      paths: paths.subarray(0, kept),
      marks: marks.subarray(0, kept),
    };
    this.#run = new Run(LEAST_RUN, this.#combine);
  }
}

/** Some of them in no order: open addressing, at most half full. */
class Run {
  length = 0;
  readonly #keys: Float64Array;
  readonly #paths: Float64Array;
  readonly #marks: Uint32Array;
  /** See `ChunkTable`: nobody can make an image whose tables all meet in one slot. */
  readonly #multiplier = (Math.floor(Math.random() * 2 ** 31) << 1) | 1;
  readonly #shift: number;

  readonly #combine: Combine;

  constructor(room: number, combine: Combine) {
    this.#combine = combine;
    this.#keys = new Float64Array(room * 2).fill(NONE);
    this.#paths = new Float64Array(room * 2);
    this.#marks = new Uint32Array(room * 2);
    this.#shift = 32 - Math.log2(room * 2);
  }

  get isFull(): boolean {
    return this.length * 2 >= this.#keys.length;
  }

  larger(): Run {
    const run = new Run(this.#keys.length, this.#combine);
    for (const [slot, offset] of this.#keys.entries()) {
      if (offset !== NONE) run.add(offset, this.#paths[slot] ?? 0, this.#marks[slot] ?? 0);
    }
    return run;
  }

  add(offset: number, paths: number, marks: number): void {
    const slot = this.#slotOf(offset);
    if (this.#keys[slot] === NONE) {
      this.#keys[slot] = offset;
      this.length += 1;
    }
    this.#paths[slot] = (this.#paths[slot] ?? 0) + paths;
    this.#marks[slot] = this.#combine(this.#marks[slot] ?? 0, marks);
  }

  offsets(): Float64Array {
    return this.#keys.filter((offset) => offset !== NONE).toSorted();
  }

  of(offset: number): { readonly paths: number; readonly marks: number } {
    const slot = this.#slotOf(offset);
    return { paths: this.#paths[slot] ?? 0, marks: this.#marks[slot] ?? 0 };
  }

  /** Offsets are multiples of 512 below 2^56: what is above 32 bits of that goes in too. */
  #slotOf(offset: number): number {
    const sector = offset / 512;
    const mixed = (sector | 0) ^ Math.imul(Math.floor(sector / 2 ** 32), 0x85ebca6b);
    const mask = this.#keys.length - 1;
    let slot = Math.imul(mixed, this.#multiplier) >>> this.#shift;
    while (this.#keys[slot] !== NONE && this.#keys[slot] !== offset) slot = (slot + 1) & mask;
    return slot;
  }
}
