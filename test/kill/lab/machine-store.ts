import type { Store } from "../../../journal/index.ts";
import type { Machine } from "./machine.ts";

export type StoredEntries = ReadonlyMap<string, Uint8Array>;

/** The journal's store of one process, without LevelDB: each put is one event, there entirely or not at all. */
export class MachineStore implements Store {
  readonly #machine: Machine;
  readonly #entries: Map<string, Uint8Array>;

  constructor(machine: Machine, entries: StoredEntries) {
    this.#machine = machine;
    this.#entries = new Map(entries);
  }

  /** What the next process finds. */
  get stored(): StoredEntries {
    return this.#entries;
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.#entries.get(key));
  }

  async *entries(from: string, to: string): AsyncGenerator<readonly [string, Uint8Array]> {
    for (const [key, value] of this.#sorted()) {
      if (key >= from && key <= to) yield await Promise.resolve([key, value] as const);
    }
  }

  async last(): Promise<readonly [string, Uint8Array] | undefined> {
    return Promise.resolve(this.#sorted().at(-1));
  }

  async put(
    entries: readonly (readonly [string, Uint8Array])[],
    _sync: boolean,
    stale: readonly string[] = [],
  ): Promise<void> {
    this.#machine.event();
    for (const key of stale) this.#entries.delete(key);
    for (const [key, value] of entries) this.#entries.set(key, value.slice());
    return Promise.resolve();
  }

  async close(): Promise<void> {}

  #sorted(): [string, Uint8Array][] {
    return [...this.#entries].toSorted(([a], [b]) => (a < b ? -1 : 1));
  }
}
