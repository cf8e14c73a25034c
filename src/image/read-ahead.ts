import { type Disk, allEnded } from "../disk/index.ts";

/** One read of a run of adjacent clusters is at most this long: large enough to stream, small enough to hold. */
const READ_BYTES = 1024 * 1024;
/** Between two clusters that are read at once may lie so much that is not wanted: reading it costs less than another read. */
const MAX_GAP_BYTES = 16 * 1024;
/**
 * Reads that are waited for together. Most images have one table here and one there: to wake up for
 * each costs more than the read.
 */
const GROUP_READS = 16;
const GROUP_BYTES = 2 * READ_BYTES;
/** Groups of which one is worked on while the others are being read. */
const GROUPS = 3;

/** Clusters that were read together. */
interface Group {
  /** Which of the clusters it brings. */
  readonly first: number;
  readonly end: number;
  /** Where each of them is in the memory of the group. */
  readonly places: readonly number[];
  readonly memory: Buffer;
  readonly done: Promise<unknown>;
}

/** What is made of a cluster that was read; its bytes are valid until the next is asked for. */
export type Make<Item> = (offset: number, bytes: Buffer) => Item;

/**
 * Reads clusters, those near each other in one read, the next ones while the caller
 * works on this one. What lies behind the end of the file reads as zeros. Unlike a
 * generator, it makes one promise for each: an image has thousands.
 */
export class ReadAhead<Item> implements AsyncIterableIterator<Item> {
  readonly #disk: Disk;
  readonly #offsets: ArrayLike<number>;
  readonly #clusterSize: number;
  readonly #make: Make<Item>;
  readonly #onEnd: (() => void) | undefined;
  readonly #memory: (Buffer | undefined)[] = [];
  readonly #ahead: Group[] = [];
  #group: Group | undefined;
  #index = 0;
  #issued = 0;
  #next = 0;

  /** `onEnd` is called when the last cluster was taken and another one asked for. */
  constructor(
    disk: Disk,
    offsets: ArrayLike<number>,
    clusterSize: number,
    make: Make<Item>,
    onEnd?: () => void,
  ) {
    this.#disk = disk;
    this.#offsets = offsets;
    this.#clusterSize = clusterSize;
    this.#make = make;
    this.#onEnd = onEnd;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Item, undefined>> {
    const group = this.#group;
    if (group === undefined || this.#index === group.end) return this.#nextGroup();
    try {
      return Promise.resolve(this.#take(group));
    } catch (error) {
      return this.#failed(error);
    }
  }

  /** A caller that leaves early may write next: no read may be under way then. */
  async return(): Promise<IteratorResult<Item, undefined>> {
    this.#group = undefined;
    this.#next = this.#offsets.length;
    await Promise.allSettled(this.#ahead.splice(0).map(({ done }) => done));
    return { done: true, value: undefined };
  }

  async #failed(error: unknown): Promise<never> {
    await this.return();
    throw error;
  }

  async #nextGroup(): Promise<IteratorResult<Item, undefined>> {
    this.#group = undefined;
    while (this.#ahead.length < GROUPS - 1 && this.#next < this.#offsets.length) {
      this.#ahead.push(this.#issue());
    }
    const group = this.#ahead.shift();
    if (group === undefined) {
      this.#onEnd?.();
      return { done: true, value: undefined };
    }
    try {
      await group.done;
      this.#group = group;
      this.#index = group.first;
      return this.#take(group);
    } catch (error) {
      return this.#failed(error);
    }
  }

  #take(group: Group): IteratorResult<Item, undefined> {
    const index = this.#index++;
    const place = group.places[index - group.first] ?? 0;
    const bytes = group.memory.subarray(place, place + this.#clusterSize);
    return { done: false, value: this.#make(this.#offsets[index] ?? 0, bytes) };
  }

  #issue(): Group {
    const first = this.#next;
    const places: number[] = [];
    const reads: { readonly offset: number; readonly from: number; end: number }[] = [];
    let used = 0;
    let end = 0;
    for (; this.#next < this.#offsets.length; this.#next += 1) {
      const offset = this.#offsets[this.#next] ?? 0;
      const read = reads.at(-1);
      const gap = offset - end;
      const grown = gap + this.#clusterSize;
      const joins =
        read !== undefined && gap >= 0 && gap <= MAX_GAP_BYTES && read.end - read.from + grown <= READ_BYTES;
      const wanted = joins ? grown : this.#clusterSize;
      if (used > 0 && used + wanted > GROUP_BYTES) break;
      if (!joins && reads.length === GROUP_READS) break;
      used += wanted;
      places.push(used - this.#clusterSize);
      if (joins) read.end = used;
      else reads.push({ offset, from: used - wanted, end: used });
      end = offset + this.#clusterSize;
    }
    const memory = this.#memoryOf(used);
    // All of them end, whether or not one fails: nothing may be under way when the caller hears of it.
    const done = allEnded(
      reads.map(({ offset, from, end: to }) => this.#disk.read(offset, memory.subarray(from, to))),
    );
    // It is awaited in its turn; until then a failure is not unhandled.
    done.catch(() => undefined);
    return { first, end: this.#next, places, memory, done };
  }

  /** Memory that is used in turn. */
  #memoryOf(length: number): Buffer {
    const turn = this.#issued % GROUPS;
    this.#issued += 1;
    const present = this.#memory[turn];
    if (present !== undefined && present.length >= length) return present;
    return (this.#memory[turn] = Buffer.allocUnsafeSlow(length));
  }
}
