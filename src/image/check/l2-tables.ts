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
const MAX_RUN = 2 ** 17;
const LEAST_RUN = 2 ** 6;
const NONE = -1;

type Combine = (one: number, other: number) => number;

/** Parallel arrays, of which the first `length` elements are in use. */
class Columns {
  length = 0;
  readonly offsets: Float64Array;
  readonly paths: Float64Array;
  readonly marks: Uint32Array;

  constructor(room: number) {
    this.offsets = new Float64Array(room);
    this.paths = new Float64Array(room);
    this.marks = new Uint32Array(room);
  }

  push(offset: number): number {
    this.offsets[this.length] = offset;
    this.paths[this.length] = 0;
    this.marks[this.length] = 0;
    this.length += 1;
    return this.length - 1;
  }
}

/**
 * Gathers the L2 tables from an offset on that L1 entries lead to, whatever their
 * number: when there are more than have room, the last of them are left for
 * another time.
 */
export class L2TableCollector {
  readonly #from: number;
  readonly #most: number;
  readonly #combine: Combine;
  #next = Infinity;
  #run: Run;
  #tables = new Columns(0);
  /** Where they are put in order next: buffers are used in turn, because garbage of this size is collected late. */
  #spare = new Columns(0);

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
    const { offsets, paths, marks, length } = this.#tables;
    return {
      offsets: offsets.subarray(0, length),
      paths: paths.subarray(0, length),
      marks: marks.subarray(0, length),
      next: this.#next,
    };
  }

  /** Puts the run in order among the others. */
  #settle(): void {
    const run = this.#run;
    const added = run.offsets();
    const old = this.#tables;
    const all = this.#roomFor(old.length + added.length);
    let [left, right] = [0, 0];
    while (left < old.length || right < added.length) {
      const kept = left < old.length ? (old.offsets[left] ?? 0) : Infinity;
      const offset = Math.min(kept, added[right] ?? Infinity);
      if (all.length === this.#most) {
        this.#next = offset;
        break;
      }
      const at = all.push(offset);
      if (kept === offset) {
        all.paths[at] = old.paths[left] ?? 0;
        all.marks[at] = old.marks[left] ?? 0;
        left += 1;
      }
      if (added[right] === offset) {
        const found = run.of(offset);
        all.paths[at] = (all.paths[at] ?? 0) + found.paths;
        all.marks[at] = this.#combine(all.marks[at] ?? 0, found.marks);
        right += 1;
      }
    }
    this.#tables = all;
    this.#spare = old;
    run.clear();
  }

  /** Empty columns for so many tables, or as many as are kept. */
  #roomFor(tables: number): Columns {
    const room = Math.min(this.#most, tables);
    const columns = this.#spare;
    columns.length = 0;
    // The first time for all of them at once; then twice as many each time.
    if (columns.offsets.length >= room) return columns;
    return new Columns(this.#tables.length === 0 ? room : Math.min(this.#most, room * 2));
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

  clear(): void {
    this.length = 0;
    this.#keys.fill(NONE);
    this.#paths.fill(0);
    this.#marks.fill(0);
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

  /** Ascending. */
  offsets(): Float64Array {
    const offsets = new Float64Array(this.length);
    let count = 0;
    for (let slot = 0; slot < this.#keys.length; slot += 1) {
      const offset = this.#keys[slot] ?? NONE;
      if (offset === NONE) continue;
      offsets[count] = offset;
      count += 1;
    }
    return offsets.toSorted();
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

/** Numbers of the tables that are wanted. */
export function tablesWhere({ offsets }: L2Tables, isWanted: (index: number) => boolean): Uint32Array {
  const found = new Uint32Array(offsets.length);
  let count = 0;
  for (let index = 0; index < offsets.length; index += 1) {
    if (!isWanted(index)) continue;
    found[count] = index;
    count += 1;
  }
  return found.subarray(0, count);
}
