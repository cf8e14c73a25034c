import type { Store } from "../../journal/index.ts";

type Entry = readonly [key: string, value: Uint8Array];

/** An ordered store in memory that knows what a power cut may take. */
export class FakeStore implements Store {
  /** Puts in their order; those before `#synced` survive everything. */
  readonly #log: (readonly Entry[])[];
  #synced: number;
  /** Error that the next puts throw, and whether they take effect all the same. */
  fault: { readonly error: Error; readonly written: boolean } | undefined;
  reads = 0;
  closed = false;

  constructor(log: readonly (readonly Entry[])[] = []) {
    this.#log = [...log];
    this.#synced = log.length;
  }

  get puts(): number {
    return this.#log.length;
  }

  /** How many puts a power cut cannot take. */
  get synced(): number {
    return this.#synced;
  }

  /** What is there after a power cut that kept the first `puts`. */
  afterPowerCut(puts: number): FakeStore {
    return new FakeStore(this.#log.slice(0, Math.max(this.#synced, puts)));
  }

  /** Everything that is stored, for a test to edit. */
  get content(): Map<string, Uint8Array> {
    return new Map(this.#log.flat().map(([key, value]) => [key, Uint8Array.from(value)]));
  }

  static of(content: ReadonlyMap<string, Uint8Array>): FakeStore {
    return new FakeStore([[...content]]);
  }

  get(key: string): Promise<Uint8Array | undefined> {
    this.reads += 1;
    return Promise.resolve(this.content.get(key));
  }

  async *entries(from: string, to: string): AsyncGenerator<Entry> {
    for (const entry of this.#sorted()) {
      if (entry[0] < from || entry[0] > to) continue;
      this.reads += 1;
      yield await Promise.resolve(entry);
    }
  }

  last(): Promise<Entry | undefined> {
    this.reads += 1;
    return Promise.resolve(this.#sorted().at(-1));
  }

  put(entries: readonly Entry[], sync: boolean): Promise<void> {
    if (this.fault === undefined || this.fault.written) {
      this.#log.push(entries.map(([key, value]) => [key, Uint8Array.from(value)]));
      if (sync) this.#synced = this.#log.length;
    }
    return this.fault === undefined ? Promise.resolve() : Promise.reject(this.fault.error);
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }

  #sorted(): Entry[] {
    return [...this.content].toSorted(([a], [b]) => (a < b ? -1 : 1));
  }
}
