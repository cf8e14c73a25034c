/**
 * Finds the transactions of a topic, and the records of a transaction, without
 * reading the log. It is derived data, written in the batch of the record that
 * it leads to; the log alone is the record. A journal without a complete index
 * (an earlier version has written to it) is folded over instead.
 */
import { isQcowalError } from "../src/errors/index.ts";
import { GENESIS, damaged, keyOf, linkAt, read, verified, walk } from "./chain.ts";
import {
  type HeldIntents,
  INDEX_RANGE,
  INDEX_VERSION,
  INTENTS_RANGE,
  type IndexedRecord,
  RECORDS_RANGE,
  TOPICS_RANGE,
  VERSION_KEY,
  behindTopic,
  decodeIntents,
  hasTopics,
  indexEntries,
  isEntryOf,
  isTopic,
  topicIn,
  kindIn,
  ownEntry,
  recordKey,
  sequenceIn,
  topicKey,
  versionEntry,
} from "./index-entries.ts";
import { RecentRecords, type StoredValue } from "./recent-records.ts";
import { type JournalRecord, NO_DIGEST, RECORD_KINDS, type RecordKind, type StoredRecord } from "./record.ts";
import type { Entry, Store } from "./store.ts";
import { endOf } from "./stub.ts";
import { Transactions } from "./transactions.ts";

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
  readonly #recent: RecentRecords;

  private constructor({ dir, store, topicsOf }: LogIndexOptions, isComplete: boolean, last: number) {
    this.#dir = dir;
    this.#store = store;
    this.#topicsOf = topicsOf;
    this.#isComplete = isComplete;
    this.#recent = new RecentRecords(last);
  }

  /**
   * `newest` is the last record of the chain that is no part. Builds what is
   * missing if it can: an index that cannot be built does not keep the journal
   * shut.
   */
  static async open(options: LogIndexOptions, newest: StoredRecord): Promise<LogIndex> {
    const isComplete = (await isBuilt(options.store, newest)) || (await tryToBuild(options, newest));
    return new LogIndex(options, isComplete, newest.sequence);
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
    const recent = this.#recent;
    const newest = recent.newestOf(topic);
    if (newest === undefined) {
      const { last } = recent;
      let first: number | undefined;
      for await (const number of this.#readTransactions(topic, from, to, reverse)) {
        if (first === undefined && reverse && to >= last) recent.found(topic, number, last);
        first ??= number;
        yield number;
      }
      if (first === undefined && from <= GENESIS && to >= last) recent.found(topic, undefined, last);
      return;
    }
    if (newest < from) return;
    if (!reverse || newest > to) {
      yield* this.#readTransactions(topic, from, Math.min(newest, to), reverse);
      return;
    }
    yield newest;
    if (newest > from) yield* this.#readTransactions(topic, from, newest - 1, reverse);
  }

  async *#readTransactions(
    topic: string,
    from: number,
    to: number,
    reverse: boolean,
  ): AsyncGenerator<number> {
    const range = [topicKey(topic, from), topicKey(topic, to)] as const;
    for await (const [key, value] of this.#store.entries(...range, reverse)) {
      if (!isTopic(value, topic)) continue;
      const record = await read(this.#dir, this.#store, sequenceIn(key));
      if (hasTopics(record.kind) && isEntryOf(value, record)) yield record.sequence;
    }
  }

  /** A record, no part, that has just been appended, and its topics. */
  appended(record: IndexedRecord, value: Uint8Array, topics: readonly string[]): void {
    if (this.#isComplete) this.#recent.appended(record, value, topics);
  }

  /**
   * Those records of a transaction that are of one of `kinds`; `last` is the
   * sequence of the chain's last record.
   * @throws QcowalError JOURNAL_DAMAGED
   */
  async recordsOf(
    number: number,
    last: number,
    kinds: readonly RecordKind[] = RECORD_KINDS,
  ): Promise<JournalRecord[]> {
    if (!this.#isComplete) {
      return (await this.#foldRecords(number, last)).filter(({ kind }) => kinds.includes(kind));
    }
    const kept = this.#recent.recordsOf(number);
    if (kept === undefined) {
      return (await this.#readRecords(number, last)).filter(({ kind }) => kinds.includes(kind));
    }
    return kept
      .filter(({ kind }) => kinds.includes(kind))
      .map(({ sequence, value }) => verified(this.#dir, sequence, value));
  }

  async #readRecords(number: number, last: number): Promise<JournalRecord[]> {
    const range = [recordKey(number, number), recordKey(number, last)] as const;
    const places: { sequence: number; entry: Uint8Array }[] = [];
    for await (const [key, entry] of this.#store.entries(...range)) {
      places.push({ sequence: sequenceIn(key), entry });
    }
    const values = await this.#store.getMany(places.map(({ sequence }) => keyOf(sequence)));
    const records: JournalRecord[] = [];
    const stored: StoredValue[] = [];
    for (const [index, { sequence, entry }] of places.entries()) {
      const value = values[index];
      if (value === undefined) throw damaged(this.#dir, sequence, "is missing");
      const record = verified(this.#dir, sequence, value);
      const isOwn = record.transaction === number || record.sequence === number;
      if (!isOwn || !isEntryOf(entry, record)) continue;
      records.push(record);
      stored.push({ sequence, kind: record.kind, value });
    }
    if (records.length > 0 && records[0]?.sequence !== number) {
      throw damaged(this.#dir, number, "is missing in the index");
    }
    if (isOver(records.at(-1)?.kind)) this.#recent.keep(number, stored);
    return records;
  }

  /** Ended transactions whose parts are still there, oldest first. */
  async held(last: number): Promise<HeldIntents[]> {
    const held: HeldIntents[] = [];
    if (this.#isComplete) {
      for await (const entry of this.#store.entries(...INTENTS_RANGE)) {
        const one = decodeIntents(entry);
        if (one.end <= last) held.push(one);
      }
      return held;
    }
    const transactions = new Transactions();
    for await (const record of walk(this.#dir, this.#store, GENESIS, last, NO_DIGEST)) {
      const { kind, transaction, sequence, time } = record;
      const bytes = transactions.partBytesOf(transaction);
      transactions.apply(record, record.size);
      const ends = kind === "settled" || kind === "aborted";
      if (ends && bytes > 0) held.push({ transaction, end: sequence, time, bytes });
    }
    return held.toSorted((a, b) => a.transaction - b.transaction);
  }

  /** How many transactions and notes there are, and the records of compactions. */
  async count(last: number): Promise<{ begun: number; notes: number; compactions: readonly number[] }> {
    let [begun, notes] = [0, 0];
    const compactions: number[] = [];
    for await (const { kind, sequence } of this.#kinds(last)) {
      if (kind === "begun") begun += 1;
      else if (kind === "note") notes += 1;
      else if (kind === "compacted") compactions.push(sequence);
    }
    return { begun, notes, compactions };
  }

  /** Undefined where nobody knows the topics of the records. */
  async countTopics(last: number, isMeant: (topic: string) => boolean): Promise<number | undefined> {
    if (this.#isComplete) return this.#countIndexedTopics(last, isMeant);
    const topicsOf = this.#topicsOf;
    if (topicsOf === undefined) return undefined;
    const topics = new Set<string>();
    for await (const record of walk(this.#dir, this.#store, GENESIS, last, NO_DIGEST)) {
      if (hasTopics(record.kind)) for (const topic of topicsOf(record)) if (isMeant(topic)) topics.add(topic);
    }
    return topics.size;
  }

  /** From the first entry of one topic to that of the next, without what lies between. */
  async #countIndexedTopics(last: number, isMeant: (topic: string) => boolean): Promise<number> {
    let [from, to] = TOPICS_RANGE as readonly [string, string];
    let topics = 0;
    for (;;) {
      let found: string | undefined;
      let isCounted = false;
      for await (const [key, value] of this.#store.entries(from, to)) {
        found = key;
        isCounted = isMeant(topicIn(value));
        break;
      }
      if (found === undefined) return topics;
      // What a torn tail has left is in no transaction that there is.
      if (isCounted && sequenceIn(found) <= last) topics += 1;
      from = behindTopic(found);
    }
  }

  async *#kinds(last: number): AsyncGenerator<{ kind: RecordKind | undefined; sequence: number }> {
    if (!this.#isComplete) {
      yield* walk(this.#dir, this.#store, GENESIS, last, NO_DIGEST);
      return;
    }
    for await (const [key, value] of this.#store.entries(...RECORDS_RANGE)) {
      const sequence = sequenceIn(key);
      if (sequence <= last) yield { kind: kindIn(value), sequence };
    }
  }

  get isComplete(): boolean {
    return this.#isComplete;
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
    const before = await linkAt(this.#dir, this.#store, number - 1);
    // Inside of what was dropped nothing has a number of its own.
    if (endOf(before) >= number) return [];
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

/** Whether a transaction whose last record is of this kind gets no more of them. */
const isOver = (kind: RecordKind | undefined): boolean =>
  kind === "settled" || kind === "aborted" || kind === "note" || kind === "compacted";

/**
 * An earlier version of the program appends records without entries and leaves
 * the version where it is: the newest record shows that.
 */
async function isBuilt(store: Store, newest: StoredRecord): Promise<boolean> {
  const version = await store.get(VERSION_KEY);
  if (version?.length !== 1 || version[0] !== INDEX_VERSION) return false;
  const own = ownEntry(newest);
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
  const transactions = new Transactions();
  for await (const record of walk(dir, store, GENESIS, last, NO_DIGEST)) {
    const topics = hasTopics(record.kind) ? topicsOf(record) : [];
    entries.push(...indexEntries(record, topics, transactions.partBytesOf(record.transaction)));
    transactions.apply(record, record.size);
    if (entries.length < BATCH) continue;
    await store.put(entries, false);
    entries = [];
  }
  await store.put([...entries, versionEntry()], true);
}
