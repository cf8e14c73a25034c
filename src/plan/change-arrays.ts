import { QcowalError, invariant } from "../errors/index.ts";

/** By how much each refcount of a block changes, in numbers as wide as the largest needs. */
export type ChangeArray = Int8Array | Int16Array | Int32Array;

/** What the change of one refcount takes where it takes most. */
export const MOST_BYTES_PER_CHANGE = Int32Array.BYTES_PER_ELEMENT;

/**
 * What the arrays of one window may take more than they took when they were made. It
 * is enough for a disk of which every block has a cluster with hundreds of compressed
 * ones in it; a few made-up tables could ask for four times the window.
 */
const MAX_WIDENED_BYTES = 48 * 1024 * 1024;

/** Bytes of a number that holds changes up to `most`, in both directions. */
export function bytesPerChange(most: number): number {
  invariant(most < 2 ** 31, "a refcount change exceeds 32 bits");
  if (most < 2 ** 7) return 1;
  return most < 2 ** 15 ? 2 : MOST_BYTES_PER_CHANGE;
}

/**
 * Makes the arrays in which the changes of blocks are counted. A snapshot that comes or
 * goes changes most refcounts by 1, so that one byte counts them, and a window has room
 * for more blocks. A block in which one changes by more gets a wider array. What one
 * window needed is written over by the next.
 */
export class ChangeArrays {
  readonly #image: string;
  readonly #entries: number;
  readonly #bytes: number;
  readonly #spare: ChangeArray[] = [];
  #widenedBytes = 0;

  /** For blocks of so many entries, of which most change by no more than `expected`. */
  constructor(image: string, entries: number, expected = 1) {
    this.#image = image;
    this.#entries = entries;
    this.#bytes = bytesPerChange(expected);
  }

  /** One of zeros. */
  make(): ChangeArray {
    return this.#spare.pop()?.fill(0) ?? this.#ofWidth(this.#bytes);
  }

  /**
   * The same changes in an array that holds `change` as well.
   * @throws QcowalError LIMIT_EXCEEDED when the wide ones would take too much memory
   */
  widened(changes: ChangeArray, change: number): ChangeArray {
    const wide = this.#ofWidth(bytesPerChange(Math.abs(change)));
    this.#widenedBytes += wide.byteLength - changes.byteLength;
    if (this.#widenedBytes > MAX_WIDENED_BYTES) {
      throw new QcowalError(
        "LIMIT_EXCEEDED",
        `${this.#image}: so many clusters gain or lose hundreds of references at once that the refcounts cannot be counted within ${MAX_WIDENED_BYTES / 2 ** 20} MiB. Nothing was changed. Change fewer snapshots at a time; 'qcowal check' says whether something is wrong with its tables.`,
      );
    }
    wide.set(changes);
    return wide;
  }

  /** Takes back the arrays of a window that is done. */
  giveBack(arrays: Iterable<ChangeArray>): void {
    for (const array of arrays) {
      if (array.BYTES_PER_ELEMENT === this.#bytes) this.#spare.push(array);
      else this.#widenedBytes -= array.byteLength - this.#entries * this.#bytes;
    }
  }

  #ofWidth(bytes: number): ChangeArray {
    if (bytes === 1) return new Int8Array(this.#entries);
    return bytes === 2 ? new Int16Array(this.#entries) : new Int32Array(this.#entries);
  }
}
