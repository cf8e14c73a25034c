export type Entry = readonly [key: string, value: Uint8Array];

/**
 * An ordered store of bytes: what the journal needs of a database. LevelDB is
 * one; another ordered store, or a simulated one, can take its place.
 */
export interface Store {
  /** The value under a key, or undefined. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** The same for several keys, in their order. */
  getMany(keys: readonly string[]): Promise<(Uint8Array | undefined)[]>;
  /**
   * Entries with from <= key <= to in ascending key order, or with `reverse` in
   * descending order, as they were when the iteration began.
   */
  entries(from: string, to: string, reverse?: boolean): AsyncIterable<Entry>;
  /** The entry with the largest key, or undefined in an empty store. */
  last(): Promise<Entry | undefined>;
  /**
   * Puts all entries and removes the keys of `stale`, or nothing of it. With
   * `sync` it resolves when this, and everything before, survives a power cut;
   * without, a power cut may lose it, whatever becomes of what is put after it.
   * @throws QcowalError JOURNAL_NOT_FOUND when the store is gone and nothing was
   * put; after any other failure nobody knows
   */
  put(entries: readonly Entry[], sync: boolean, stale?: readonly string[]): Promise<void>;
  /**
   * Gives back the space of what was removed with from <= key <= to. Changes
   * nothing that can be read, and may be interrupted.
   */
  compact(from: string, to: string): Promise<void>;
  /** Bytes that it takes on disk. */
  size(): Promise<number>;
  close(): Promise<void>;
}
