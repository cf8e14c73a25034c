import type { Store } from "../../journal/index.ts";
import type { Machine } from "./machine.ts";

export type StoredEntry = readonly [key: string, value: Uint8Array];
export type StoredEntries = ReadonlyMap<string, Uint8Array>;

/** What one put does, there entirely or not at all. An entry without a value removes the key. */
export type Batch = readonly (readonly [key: string, value: Uint8Array | undefined])[];

/** A store between two syncs: what is certain, and the puts that a power cut may take. */
export interface UnsyncedStore {
  readonly durable: readonly Batch[];
  readonly pending: readonly Batch[];
}

/**
 * An ordered store in memory that knows what a power cut may take: as with
 * LevelDB, anything that was put since the last synced put, most often its end
 * (a torn block of the log can take something in the middle), and never that put
 * or what came before it. What a process finds on opening is durable, because
 * LevelDB writes a log that it replays into a synced table.
 */
export class SimulatedStore implements Store {
  /** Puts in their order; the first `#synced` survive everything. */
  readonly #log: Batch[];
  readonly #entries = new Map<string, Uint8Array>();
  #sortedKeys: string[] | undefined;
  #synced: number;
  /** The process that holds it: counts each put as an event. */
  readonly #machine: Machine | undefined;
  /** Error that the next puts throw, and whether they take effect all the same. */
  fault: { readonly error: Error; readonly written: boolean } | undefined;
  reads = 0;
  compactions = 0;
  closed = false;

  constructor(log: readonly Batch[] = [], machine?: Machine) {
    this.#log = [...log];
    for (const batch of log) this.#apply(batch);
    this.#synced = log.length;
    this.#machine = machine;
  }

  static of(content: StoredEntries): SimulatedStore {
    return new SimulatedStore([[...content]]);
  }

  get puts(): number {
    return this.#log.length;
  }

  /** How many puts a power cut cannot take. */
  get synced(): number {
    return this.#synced;
  }

  /** Every put so far: what the next process finds after this one was killed. */
  get log(): readonly Batch[] {
    return this.#log;
  }

  unsynced(): UnsyncedStore {
    return { durable: this.#log.slice(0, this.#synced), pending: this.#log.slice(this.#synced) };
  }

  /** What is there after a power cut that kept these of the puts it could take. */
  afterPowerCut(isKept: (put: number) => boolean): SimulatedStore {
    return new SimulatedStore(this.#log.filter((_, put) => put < this.#synced || isKept(put)));
  }

  /** A copy of everything that is stored, for a test to edit. */
  get content(): Map<string, Uint8Array> {
    return new Map([...this.#entries].map(([key, value]) => [key, Uint8Array.from(value)]));
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    this.#read();
    return Promise.resolve(this.#entries.get(key));
  }

  async getMany(keys: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    return Promise.all(keys.map((key) => this.get(key)));
  }

  async *entries(from: string, to: string, reverse = false): AsyncGenerator<StoredEntry> {
    const found = this.#keys()
      .filter((key) => key >= from && key <= to)
      .flatMap((key): StoredEntry[] => {
        const value = this.#entries.get(key);
        return value === undefined ? [] : [[key, value]];
      });
    for (const entry of reverse ? found.toReversed() : found) {
      this.#read();
      yield await Promise.resolve(entry);
    }
  }

  async last(): Promise<StoredEntry | undefined> {
    this.#read();
    const key = this.#keys().at(-1);
    const value = key === undefined ? undefined : this.#entries.get(key);
    return Promise.resolve(key === undefined || value === undefined ? undefined : [key, value]);
  }

  async put(entries: readonly StoredEntry[], sync: boolean, stale: readonly string[] = []): Promise<void> {
    this.#machine?.event(sync ? "synced put" : "put");
    if (this.fault === undefined || this.fault.written) {
      const batch: Batch = [
        ...entries.map(([key, value]) => [key, Uint8Array.from(value)] as const),
        ...stale.map((key) => [key, undefined] as const),
      ];
      this.#log.push(batch);
      this.#apply(batch);
      if (sync) this.#synced = this.#log.length;
    }
    return this.fault === undefined ? Promise.resolve() : Promise.reject(this.fault.error);
  }

  /** What was removed takes no space here. */
  async compact(): Promise<void> {
    this.compactions += 1;
    return Promise.resolve();
  }

  async size(): Promise<number> {
    let bytes = 0;
    for (const [key, value] of this.#entries) bytes += key.length + value.length;
    return Promise.resolve(bytes);
  }

  async close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }

  #apply(batch: Batch): void {
    for (const [key, value] of batch) {
      if (value === undefined) this.#entries.delete(key);
      else this.#entries.set(key, value);
    }
    this.#sortedKeys = undefined;
  }

  #read(): void {
    this.reads += 1;
    this.#machine?.read();
  }

  #keys(): readonly string[] {
    this.#sortedKeys ??= [...this.#entries.keys()].toSorted();
    return this.#sortedKeys;
  }
}
