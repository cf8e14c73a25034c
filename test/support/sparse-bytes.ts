const CHUNK = 64 * 1024;

/** Bytes with a length, of which only the chunks that were written take memory. */
export class SparseBytes {
  readonly #chunks: Map<number, Uint8Array>;
  length: number;

  constructor(length = 0, chunks = new Map<number, Uint8Array>()) {
    this.length = length;
    this.#chunks = chunks;
  }

  copy(): SparseBytes {
    return new SparseBytes(
      this.length,
      new Map([...this.#chunks].map(([index, bytes]) => [index, bytes.slice()])),
    );
  }

  read(offset: number, target: Uint8Array): number {
    target.fill(0);
    const inside = Math.max(0, Math.min(target.length, this.length - offset));
    this.#each(offset, inside, (index, from, length, done) => {
      const chunk = this.#chunks.get(index);
      if (chunk !== undefined) target.set(chunk.subarray(from, from + length), done);
    });
    return inside;
  }

  write(offset: number, data: Uint8Array): void {
    this.#each(offset, data.length, (index, from, length, done) => {
      let chunk = this.#chunks.get(index);
      if (chunk === undefined) this.#chunks.set(index, (chunk = new Uint8Array(CHUNK)));
      chunk.set(data.subarray(done, done + length), from);
    });
    if (data.length > 0) this.length = Math.max(this.length, offset + data.length);
  }

  zero(offset: number, length: number): void {
    this.#each(offset, Math.max(0, Math.min(length, this.length - offset)), (index, from, part) => {
      if (part === CHUNK) this.#chunks.delete(index);
      else this.#chunks.get(index)?.fill(0, from, from + part);
    });
  }

  truncate(size: number): void {
    // What is cut off must not come back when the file grows again.
    if (size < this.length) this.zero(size, this.length - size);
    this.length = size;
  }

  #each(
    offset: number,
    length: number,
    visit: (index: number, from: number, length: number, done: number) => void,
  ): void {
    for (let done = 0; done < length;) {
      const index = Math.floor((offset + done) / CHUNK);
      const from = (offset + done) % CHUNK;
      const part = Math.min(CHUNK - from, length - done);
      visit(index, from, part, done);
      done += part;
    }
  }
}
