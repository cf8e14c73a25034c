/**
 * Finds the transactions of a topic, and the records of a transaction, without
 * reading the log. It is derived data, written in the batch of the record that
 * it leads to; the log alone is the record. A journal without a complete index
 * (an earlier version has written to it) is folded over instead.
 */
import { isQcowalError } from "../src/errors/index.ts";
import { GENESIS, damaged, read, walk } from "./chain.ts";
import {
  INDEX_RANGE,
  INDEX_VERSION,
  VERSION_KEY,
  hasTopics,
  indexEntries,
  isEntryOf,
  isIndexed,
  isTopic,
  recordKey,
  sequenceIn,
  topicKey,
  versionEntry,
} from "./index-entries.ts";
import { type JournalRecord, NO_DIGEST, type StoredRecord } from "./record.ts";
import type { Entry, Store } from "./store.ts";

/** The topics of a record that was written without them; asked for begun records and notes. */
export type TopicsOf = (record: Pick<JournalRecord, "kind" | "body">) => readonly string[];

export interface TransactionsRange {
  /** Newest first. Default: oldest first. */
  readonly reverse?: boolean;
  /** Smallest number, itself included. */
  readonly from?: number;
  /** Largest number, itself included. */
  readonly to?: number;
}

/** Entries of one put while an index is built. */
const BATCH = 1000;

export interface LogIndexOptions {
  readonly dir: string;
  readonly store: Store;
  readonly topicsOf: TopicsOf | undefined;
}

export class LogIndex {
  readonly #dir: string;
  readonly #store: Store;
  readonly #topicsOf: TopicsOf | undefined;
  readonly #isComplete: boolean;

  private constructor({ dir, store, topicsOf }: LogIndexOptions, isComplete: boolean) {
    this.#dir = dir;
    this.#store = store;
    this.#topicsOf = topicsOf;
    this.#isComplete = isComplete;
  }

  /**
   * `newest` is the last record of the chain that is no part. Builds what is
   * missing if it can: an index that cannot be built does not keep the journal
   * shut.
   */
  static async open(options: LogIndexOptions, newest: StoredRecord): Promise<LogIndex> {
    const isComplete = (await isBuilt(options.store, newest)) || (await tryToBuild(options, newest));
    return new LogIndex(options, isComplete);
  }

  /** Keys that records behind the end of the chain have left; `from` is the first of those. */
  async staleKeys(from: number): Promise<string[]> {
    const stale: string[] = [];
    for await (const [key] of this.#store.entries(...INDEX_RANGE)) {
      if (key !== VERSION_KEY && sequenceIn(key) >= from) stale.push(key);
    }
    return stale;
  }

  /** @throws QcowalError JOURNAL_DAMAGED */
  async *transactionsOf(topic: string, from: number, to: number, reverse: boolean): AsyncGenerator<number> {
    if (!this.#isComplete) {
      yield* this.#foldTransactions(topic, from, to, reverse);
      return;
    }
    const range = [topicKey(topic, from), topicKey(topic, to)] as const;
    for await (const [key, value] of this.#store.entries(...range, reverse)) {
      if (!isTopic(value, topic)) continue;
      const record = await read(this.#dir, this.#store, sequenceIn(key));
      if (hasTopics(record.kind) && isEntryOf(value, record)) yield record.sequence;
    }
  }

  /**
   * `last` is the sequence of the chain's last record.
   * @throws QcowalError JOURNAL_DAMAGED
   */
  async recordsOf(number: number, last: number): Promise<JournalRecord[]> {
    if (!this.#isComplete) return this.#foldRecords(number, last);
    const records: JournalRecord[] = [];
    const range = [recordKey(number, number), recordKey(number, last)] as const;
    for await (const [key, value] of this.#store.entries(...range)) {
      const record = await read(this.#dir, this.#store, sequenceIn(key));
      const isOwn = record.transaction === number || record.sequence === number;
      if (isOwn && isEntryOf(value, record)) records.push(record);
    }
    if (records.length > 0 && records[0]?.sequence !== number) {
      throw damaged(this.#dir, number, "is missing in the index");
    }
    return records;
  }

  async *#foldTransactions(
    topic: string,
    from: number,
    to: number,
    reverse: boolean,
  ): AsyncGenerator<number> {
    const topicsOf = this.#topicsOf;
    if (topicsOf === undefined) {
      throw new TypeError(`${this.#dir}: a journal without an index needs 'topicsOf' when it is opened`);
    }
    const numbers: number[] = [];
    for await (const record of walk(this.#dir, this.#store, GENESIS, to, NO_DIGEST)) {
      if (record.sequence < from || !hasTopics(record.kind)) continue;
      if (topicsOf(record).includes(topic)) numbers.push(record.sequence);
    }
    yield* reverse ? numbers.toReversed() : numbers;
  }

  async #foldRecords(number: number, last: number): Promise<JournalRecord[]> {
    if (number <= GENESIS || number > last) return [];
    const records: JournalRecord[] = [];
    const before = await read(this.#dir, this.#store, number - 1);
    for await (const record of walk(this.#dir, this.#store, number, last, before.digest)) {
      const isOwn = record.transaction === number || record.sequence === number;
      if (record.sequence === number && record.transaction !== 0 && record.kind !== "begun") return [];
      if (!isOwn || record.kind === "part") continue;
      records.push(record);
      if (record.kind !== "begun" && record.kind !== "prepared" && record.kind !== "committed") break;
    }
    return records;
  }
}

/**
 * An earlier version of the program appends records without entries and leaves
 * the version where it is: the newest record shows that.
 */
async function isBuilt(store: Store, newest: StoredRecord): Promise<boolean> {
  const version = await store.get(VERSION_KEY);
  if (version?.length !== 1 || version[0] !== INDEX_VERSION) return false;
  const [own] = indexEntries(newest, []);
  if (own === undefined) return true;
  const value = await store.get(own[0]);
  return value !== undefined && isEntryOf(value, newest);
}

/** Damage in old records, or no space, is no reason not to open: whoever reads there hears of it. */
async function tryToBuild(options: LogIndexOptions, newest: StoredRecord): Promise<boolean> {
  if (options.topicsOf === undefined) return false;
  try {
    await build(options, options.topicsOf, newest.sequence);
    return true;
  } catch (error) {
    if (isQcowalError(error)) return false;
    throw error;
  }
}

/** The version goes first and comes last, synced: where it is, everything is. */
async function build({ dir, store }: LogIndexOptions, topicsOf: TopicsOf, last: number): Promise<void> {
  if ((await store.get(VERSION_KEY)) !== undefined) await store.put([], true, [VERSION_KEY]);
  let old: string[] = [];
  for await (const [key] of store.entries(...INDEX_RANGE)) {
    old.push(key);
    if (old.length < BATCH) continue;
    await store.put([], false, old);
    old = [];
  }
  if (old.length > 0) await store.put([], false, old);
  let entries: Entry[] = [];
  for await (const record of walk(dir, store, GENESIS, last, NO_DIGEST)) {
    if (isIndexed(record.kind)) {
      entries.push(...indexEntries(record, hasTopics(record.kind) ? topicsOf(record) : []));
    }
    if (entries.length < BATCH) continue;
    await store.put(entries, false);
    entries = [];
  }
  await store.put([...entries, versionEntry()], true);
}
