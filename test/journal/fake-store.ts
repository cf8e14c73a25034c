import type { Store } from "../../journal/index.ts";

type Entry = readonly [key: string, value: Uint8Array];
type Change = readonly [key: string, value: Uint8Array | undefined];

/** An ordered store in memory that knows what a power cut may take. */
export class FakeStore implements Store {
  /** Puts in their order; those before `#synced` survive everything. An entry without a value removes the key. */
  readonly #log: (readonly Change[])[];
  #synced: number;
  /** Error that the next puts throw, and whether they take effect all the same. */
  fault: { readonly error: Error; readonly written: boolean } | undefined;
  reads = 0;
  closed = false;

  constructor(log: readonly (readonly Change[])[] = []) {
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

  /** What is there after a power cut that kept these of the puts it could take. */
  afterPowerCut(isKept: (put: number) => boolean): FakeStore {
    return new FakeStore(this.#log.filter((_, put) => put < this.#synced || isKept(put)));
  }

  /** Everything that is stored, for a test to edit. */
  get content(): Map<string, Uint8Array> {
    const content = new Map<string, Uint8Array>();
    for (const [key, value] of this.#log.flat()) {
      if (value === undefined) content.delete(key);
      else content.set(key, Uint8Array.from(value));
    }
    return content;
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

  put(entries: readonly Entry[], sync: boolean, stale: readonly string[] = []): Promise<void> {
    if (this.fault === undefined || this.fault.written) {
      this.#log.push([
        ...entries.map(([key, value]): Change => [key, Uint8Array.from(value)]),
        ...stale.map((key): Change => [key, undefined]),
      ]);
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
