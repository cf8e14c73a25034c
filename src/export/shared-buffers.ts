/** Most buffers are this large; those that are larger are not kept. */
export const SHARED_BYTES = 2 * 1024 * 1024;
const MOST_SPARE = 16;

/**
 * Memory that several threads see. Each has to find out by itself that it needs a
 * buffer no more before its memory is free, so they are used again and again.
 */
export class SharedBuffers {
  readonly #spare: SharedArrayBuffer[] = [];

  /** Gives `use` at least `length` bytes, of any content, until it ends. */
  async lend<Result>(length: number, use: (buffer: SharedArrayBuffer) => Promise<Result>): Promise<Result> {
    const isCommon = length <= SHARED_BYTES;
    const buffer =
      (isCommon ? this.#spare.pop() : undefined) ?? new SharedArrayBuffer(Math.max(length, SHARED_BYTES));
    try {
      return await use(buffer);
    } finally {
      if (isCommon && this.#spare.length < MOST_SPARE) this.#spare.push(buffer);
    }
  }
}
