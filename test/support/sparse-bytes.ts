import { hash } from "node:crypto";

const CHUNK = 8 * 1024;

/** Of chunks that copies share: nobody writes to those any more. */
const DIGESTS = new WeakMap<Uint8Array, string>();

const ZEROS = new Uint8Array(CHUNK);

const digestOf = (chunk: Uint8Array): string => hash("sha1", chunk, "base64");
const DIGEST_OF_ZEROS = digestOf(ZEROS);

/**
 * Bytes with a length, of which only the chunks that were written take memory.
 * Copies share their chunks until one of them writes: a crash state differs from
 * its neighbours in a few sectors.
 */
export class SparseBytes {
  readonly #chunks: Map<number, Uint8Array>;
  /** Chunks that no copy shares. */
  readonly #own = new Set<number>();
  length: number;

  constructor(length = 0, chunks = new Map<number, Uint8Array>()) {
    this.length = length;
    this.#chunks = chunks;
  }

  copy(): SparseBytes {
    this.#own.clear();
    return new SparseBytes(this.length, new Map(this.#chunks));
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
      const chunk = this.#writable(index);
      chunk.set(data.subarray(done, done + length), from);
    });
    if (data.length > 0) this.length = Math.max(this.length, offset + data.length);
  }

  zero(offset: number, length: number): void {
    this.#each(offset, Math.max(0, Math.min(length, this.length - offset)), (index, from, part) => {
      if (part === CHUNK) {
        this.#chunks.delete(index);
        this.#own.delete(index);
      } else if (this.#chunks.has(index)) this.#writable(index).fill(0, from, from + part);
    });
  }

  truncate(size: number): void {
    // What is cut off must not come back when the file grows again.
    if (size < this.length) this.zero(size, this.length - size);
    this.length = size;
  }

  /** The same for the same bytes. What neighbours share is hashed once for all of them. */
  digest(): string {
    // From now on a copy shares them: whoever writes makes its own.
    this.#own.clear();
    const parts = [String(this.length)];
    for (const index of [...this.#chunks.keys()].toSorted((a, b) => a - b)) {
      const chunk = this.#chunks.get(index) ?? ZEROS;
      const digest = DIGESTS.get(chunk) ?? digestOf(chunk);
      DIGESTS.set(chunk, digest);
      // A chunk of zeros reads like one that is not there.
      if (digest !== DIGEST_OF_ZEROS) parts.push(`${index} ${digest}`);
    }
    return hash("sha1", parts.join(), "base64");
  }

  #writable(index: number): Uint8Array {
    const chunk = this.#chunks.get(index);
    if (chunk !== undefined && this.#own.has(index)) return chunk;
    const own = chunk?.slice() ?? new Uint8Array(CHUNK);
    this.#chunks.set(index, own);
    this.#own.add(index);
    return own;
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
