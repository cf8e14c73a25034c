import { type ByteRange, diffSnapshots } from "../export/index.ts";
import type { ChangedRange, ChangedSince } from "../nbd/index.ts";
import type { SnapshotRef } from "./pool-options.ts";

/** What is remembered of one comparison is 16 bytes for each of these; of more, each request compares anew. */
const MAX_RANGES = 2 ** 20;

/** Which parts of a disk are mapped otherwise than in a snapshot of it. They are found when they are first asked for. */
export class ChangedSinceSnapshot implements ChangedSince {
  readonly name: string;
  readonly #size: number;
  readonly #differences: () => AsyncIterable<ByteRange>;
  #known: Promise<Float64Array | undefined> | undefined;

  /** `to` undefined is the active layer; `size` is that of its disk. */
  constructor(
    name: string,
    image: string,
    from: SnapshotRef,
    to: SnapshotRef | undefined,
    size: number,
    forceShare: boolean,
  ) {
    this.name = name;
    this.#size = size;
    this.#differences = () => diffSnapshots(image, from, to, { forceShare });
  }

  async *ranges(offset: number, length: number): AsyncGenerator<ChangedRange> {
    this.#known ??= this.#load();
    const known = await this.#known.catch((error: unknown) => {
      this.#known = undefined;
      throw error;
    });
    const end = offset + length;
    let at = offset;
    for await (const range of known === undefined ? this.#merged() : rangesFrom(known, offset)) {
      const from = Math.max(range.offset, at);
      const to = Math.min(range.offset + range.length, end);
      if (range.offset >= end) break;
      if (to <= from) continue;
      if (from > at) yield { offset: at, length: from - at, changed: false };
      yield { offset: from, length: to - from, changed: true };
      at = to;
    }
    if (at < end) yield { offset: at, length: end - at, changed: false };
  }

  async #load(): Promise<Float64Array | undefined> {
    let bounds = new Float64Array(64);
    let count = 0;
    for await (const { offset, length } of this.#merged()) {
      if (count === MAX_RANGES * 2) return undefined;
      if (count === bounds.length) {
        const grown = new Float64Array(count * 2);
        grown.set(bounds);
        bounds = grown;
      }
      bounds[count++] = offset;
      bounds[count++] = offset + length;
    }
    return bounds.slice(0, count);
  }

  /** Neighbours joined, however each is stored, and cut at the end of the disk. */
  async *#merged(): AsyncGenerator<ByteRange> {
    let start = 0;
    let end = 0;
    for await (const { offset, length } of this.#differences()) {
      if (offset >= this.#size) break;
      if (offset > end) {
        if (end > start) yield { offset: start, length: end - start };
        start = offset;
      }
      end = Math.min(offset + length, this.#size);
    }
    if (end > start) yield { offset: start, length: end - start };
  }
}

/** Those that end behind `offset`; `bounds` has the beginning and the end of each. */
function* rangesFrom(bounds: Float64Array, offset: number): Generator<ByteRange> {
  let low = 0;
  let high = bounds.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((bounds[middle * 2 + 1] ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  for (let index = low * 2; index < bounds.length; index += 2) {
    const start = bounds[index] ?? 0;
    yield { offset: start, length: (bounds[index + 1] ?? 0) - start };
  }
}
