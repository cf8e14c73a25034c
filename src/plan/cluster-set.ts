const CHUNK_BITS = 16;
const CHUNK = 2 ** CHUNK_BITS;

/**
 * Numbers of clusters, a bit for each: a transaction may hand out more of them
 * than a `Set` can hold, which are 2^24.
 */
export class ClusterSet implements Iterable<number> {
  readonly #chunks = new Map<number, Uint32Array>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(cluster: number): boolean {
    const word = this.#chunks.get(Math.floor(cluster / CHUNK))?.[(cluster % CHUNK) >>> 5] ?? 0;
    return ((word >>> (cluster & 31)) & 1) === 1;
  }

  add(cluster: number): void {
    if (this.has(cluster)) return;
    const key = Math.floor(cluster / CHUNK);
    let chunk = this.#chunks.get(key);
    if (chunk === undefined) this.#chunks.set(key, (chunk = new Uint32Array(CHUNK / 32)));
    const word = (cluster % CHUNK) >>> 5;
    chunk[word] = (chunk[word] ?? 0) | (1 << (cluster & 31));
    this.#size += 1;
  }

  delete(cluster: number): void {
    if (!this.has(cluster)) return;
    const chunk = this.#chunks.get(Math.floor(cluster / CHUNK));
    const word = (cluster % CHUNK) >>> 5;
    if (chunk !== undefined) chunk[word] = (chunk[word] ?? 0) & ~(1 << (cluster & 31));
    this.#size -= 1;
  }

  /** Those of a chunk ascending, the chunks as they came. */
  *[Symbol.iterator](): Generator<number> {
    for (const [key, chunk] of this.#chunks) {
      for (let word = 0; word < chunk.length; word += 1) {
        for (let rest = chunk[word] ?? 0; rest !== 0; rest &= rest - 1) {
          yield key * CHUNK + word * 32 + (31 - Math.clz32(rest & -rest));
        }
      }
    }
  }
}
