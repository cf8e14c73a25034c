/**
 * The write-ahead journal: an append-only chain of records in an ordered store.
 *
 * - Each record carries its sequence number and the digest of the record before
 *   it. What is missing, torn, edited, swapped or inserted breaks the chain.
 * - A power cut loses any of what was not synced, also from the middle. What is
 *   behind the first gap is set aside: nobody has acted on it. `prepare` and
 *   `commit` are synced; what else may be lost (parts, settle, abort) is done
 *   again by recovery.
 * - Each record carries a low-water mark: where the records start that unsettled
 *   transactions still need. Opening reads the last record and goes on from
 *   there, so it costs what is pending and not what ever happened.
 */
import { randomUUID } from "node:crypto";
import { QcowalError } from "../src/errors/index.ts";
import { genesisId } from "./genesis.ts";
import type { JournalHead, JournalReader, RecordRange } from "./journal-reader.ts";
import { GENESIS, damaged, keyOf, read, walk } from "./chain.ts";
import { indexEntries, isIndexed, isLogKey, versionEntry } from "./index-entries.ts";
import { LogIndex, type TopicsOf, type TransactionsRange } from "./log-index.ts";
import {
  type JournalRecord,
  NO_DIGEST,
  type RecordKind,
  type StoredRecord,
  encodeRecord,
  hex,
} from "./record.ts";
import type { Entry, Store } from "./store.ts";
import { type TornTail, assertTorn, findTail, staleKeys } from "./tail.ts";
import { type PendingTransaction, Transactions } from "./transactions.ts";
import { type JournalVerdict, type VerifyOptions, verifyChain } from "./verify-chain.ts";

/** Largest encoded record; longer contents are split by the caller. */
const MAX_RECORD_BYTES = 1024 * 1024 + 64 * 1024;

interface JournalState {
  readonly dir: string;
  readonly store: Store;
  readonly now: () => number;
  readonly onClose: () => Promise<void>;
  readonly id: string;
  readonly tail: StoredRecord;
  readonly transactions: Transactions;
  readonly index: LogIndex;
  readonly tornTail: TornTail | undefined;
}

export class Journal implements JournalReader {
  /** Absolute path of the journal's directory. */
  readonly dir: string;
  /** Born with the genesis record: a copy of the directory has the same, another journal has not. */
  readonly id: string;
  /** Records that were set aside when it was opened: they were never acknowledged. */
  readonly tornTail: TornTail | undefined;
  readonly #store: Store;
  readonly #now: () => number;
  readonly #onClose: () => Promise<void>;
  readonly #transactions: Transactions;
  readonly #index: LogIndex;
  /** Keys of what was set aside; the next append takes their place. */
  #stale: readonly string[];
  #tail: { readonly sequence: number; readonly digest: Uint8Array };
  /** Appends go one after the other, whoever calls: each needs the digest of the one before. */
  #queue: Promise<unknown> = Promise.resolve();
  #failed: unknown;
  #closed: Promise<void> | undefined;

  /** @internal Use `openJournal` or `openJournalOn`. */
  constructor(state: JournalState) {
    this.dir = state.dir;
    this.id = state.id;
    this.tornTail = state.tornTail;
    this.#store = state.store;
    this.#now = state.now;
    this.#onClose = state.onClose;
    this.#tail = state.tail;
    this.#stale = staleKeys(state.tornTail);
    this.#transactions = state.transactions;
    this.#index = state.index;
  }

  /**
   * Begins a transaction and returns its number. Not synced: until it is prepared
   * it may vanish. `topics` are what it is found by with `transactionsOf`, such as
   * the paths of images.
   */
  begin(body: unknown, topics: readonly string[] = []): Promise<number> {
    return this.#append("begun", undefined, body, false, topics);
  }

  /** Adds a piece of the plan; at most 1 MiB encoded, else a TypeError. Not synced. */
  async part(transaction: number, body: unknown): Promise<void> {
    await this.#append("part", transaction, body, false);
  }

  /** The plan is complete. Synced: when it resolves, everything of this transaction survives a power cut. */
  async prepare(transaction: number, body: unknown): Promise<void> {
    await this.#append("prepared", transaction, body, true);
  }

  /** The decision. Synced. */
  async commit(transaction: number, body?: unknown): Promise<void> {
    await this.#append("committed", transaction, body, true);
  }

  /** The transaction is fully applied. Not synced: when it is lost, recovery finds that and says so again. */
  async settle(transaction: number, body?: unknown): Promise<void> {
    await this.#append("settled", transaction, body, false);
  }

  /** The transaction never happened. Not synced, as for `settle`. */
  async abort(transaction: number, body?: unknown): Promise<void> {
    await this.#append("aborted", transaction, body, false);
  }

  /** An observation outside any transaction. Not synced. Returns its sequence, which is its number. `topics` as for `begin`. */
  note(body: unknown, topics: readonly string[] = []): Promise<number> {
    return this.#append("note", 0, body, false, topics);
  }

  /** Transactions that are neither settled nor aborted, in the order in which they began. */
  pending(): readonly PendingTransaction[] {
    return this.#transactions.pending;
  }

  /**
   * Bodies of a transaction's parts, in order.
   * @throws QcowalError JOURNAL_DAMAGED
   */
  async *parts(transaction: number): AsyncGenerator<unknown> {
    for await (const record of this.records({ from: transaction })) {
      if (record.transaction !== transaction) continue;
      if (record.kind === "part") yield record.body;
      else if (record.kind !== "begun") return;
    }
  }

  /** Called with every record that is appended from now on, in order; what it throws is ignored. */
  onAppend: (record: Pick<JournalRecord, "sequence" | "kind" | "transaction">) => void = () => undefined;

  /** True while nothing was ever recorded. */
  get isFresh(): boolean {
    return this.#tail.sequence === GENESIS;
  }

  /**
   * Numbers of the transactions that touch a topic, and of such notes, by the
   * index: costs what is found, not what ever happened.
   * @throws TypeError for a range that is none
   * @throws QcowalError JOURNAL_DAMAGED
   */
  async *transactionsOf(topic: string, range: TransactionsRange = {}): AsyncGenerator<number> {
    this.#assertOpen();
    const { reverse = false, from = GENESIS, to = this.#tail.sequence } = range;
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to)) {
      throw new TypeError(`from and to are numbers of transactions, not ${from} and ${to}`);
    }
    const [first, last] = [Math.max(from, GENESIS), Math.min(to, this.#tail.sequence)];
    if (first <= last) yield* this.#index.transactionsOf(topic, first, last, reverse);
  }

  /**
   * The records of a transaction without its parts, or the one note of that
   * number; empty where nothing has the number. Each is verified for itself, not
   * against the one before. Costs neither the length of the journal nor the parts.
   * @throws QcowalError JOURNAL_DAMAGED
   */
  async recordsOf(number: number): Promise<readonly JournalRecord[]> {
    this.#assertOpen();
    return this.#exists(number) ? this.#index.recordsOf(number, this.#tail.sequence) : [];
  }

  /**
   * One record, verified for itself; undefined where the journal has not come to it yet.
   * @throws TypeError for what is no sequence
   * @throws QcowalError JOURNAL_DAMAGED
   */
  async record(sequence: number): Promise<JournalRecord | undefined> {
    this.#assertOpen();
    return this.#exists(sequence) ? read(this.dir, this.#store, sequence) : undefined;
  }

  #exists(sequence: number): boolean {
    if (!Number.isSafeInteger(sequence)) throw new TypeError(`${sequence} is not the number of a record`);
    return sequence >= GENESIS && sequence <= this.#tail.sequence;
  }

  /**
   * Records in order, each verified against the one before.
   * @throws QcowalError JOURNAL_DAMAGED naming the first that is missing, torn or edited
   */
  async *records(range: RecordRange = {}): AsyncGenerator<StoredRecord> {
    this.#assertOpen();
    const { from = GENESIS, to = this.#tail.sequence } = range;
    const before = from > GENESIS ? await read(this.dir, this.#store, from - 1) : undefined;
    yield* walk(this.dir, this.#store, from, Math.min(to, this.#tail.sequence), before?.digest ?? NO_DIGEST);
  }

  /** The last record. */
  get head(): JournalHead {
    return { sequence: this.#tail.sequence, digest: hex(this.#tail.digest) };
  }

  /**
   * Walks the whole chain.
   * @throws QcowalError JOURNAL_DAMAGED naming the first record that is missing, torn or edited, or when no record has
   * the digest `head`
   */
  async verify(options: VerifyOptions = {}): Promise<JournalVerdict> {
    return verifyChain(this, options);
  }

  /** Idempotent. Waits for appends under way. */
  async close(): Promise<void> {
    this.#closed ??= this.#queue.then(async () => {
      // What belongs to the holder goes first: once the store is closed, the next one is in.
      await this.#onClose();
      await this.#store.close();
    });
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #assertOpen(): void {
    if (this.#closed !== undefined) {
      throw new QcowalError("POOL_CLOSED", `${this.dir}: the journal is closed. Nothing was changed.`);
    }
  }

  async #append(
    kind: RecordKind,
    transaction: number | undefined,
    body: unknown,
    sync: boolean,
    topics: readonly string[] = [],
  ): Promise<number> {
    this.#assertOpen();
    const result = this.#queue.then(() => this.#write(kind, transaction, body, sync, topics));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #write(
    kind: RecordKind,
    transaction: number | undefined,
    body: unknown,
    sync: boolean,
    topics: readonly string[],
  ): Promise<number> {
    if (this.#failed !== undefined) {
      throw new QcowalError(
        "IO_FAILED_EARLIER",
        `${this.dir}: an earlier write of the journal failed; reopen it, recovery decides.`,
        { cause: this.#failed },
      );
    }
    const sequence = this.#tail.sequence + 1;
    const step = { kind, transaction: transaction ?? sequence };
    this.#transactions.check(step);
    const low = this.#lowAfter(step, sequence);
    const record = {
      ...step,
      sequence,
      time: this.#now(),
      body: body ?? null,
      low,
      previous: this.#tail.digest,
    };
    const { value, digest } = encodeRecord(record);
    if (value.length > MAX_RECORD_BYTES) {
      throw new TypeError(`a journal record has at most 1 MiB, this one has ${value.length} bytes`);
    }
    try {
      const entries: Entry[] = [[keyOf(sequence), value], ...indexEntries({ ...record, digest }, topics)];
      // Synced with the removal: were only that lost, the chain would end in records of two lives.
      const stale = await this.#staleBut(entries);
      await this.#store.put(entries, sync || stale.length > 0, stale);
    } catch (error) {
      // Nobody knows whether it is on disk: only reading the journal again can tell.
      this.#failed = error;
      throw error;
    }
    this.#transactions.apply({ ...record, digest });
    this.#tail = { sequence, digest };
    this.#stale = [];
    try {
      this.onAppend(record);
    } catch {
      // The record stands, whatever the listener makes of it.
    }
    return sequence;
  }

  /** What was set aside leads nowhere in the index either. */
  async #staleBut(entries: readonly Entry[]): Promise<string[]> {
    if (this.#stale.length === 0) return [];
    const leads = await this.#index.staleKeys(this.#tail.sequence + 1);
    return [...this.#stale, ...leads].filter((stale) => !entries.some(([key]) => key === stale));
  }

  #lowAfter({ kind, transaction }: { kind: RecordKind; transaction: number }, sequence: number): number {
    const ends = kind === "settled" || kind === "aborted";
    const others = this.#transactions.pending.filter(
      (pending) => !ends || pending.transaction !== transaction,
    );
    return others[0]?.transaction ?? (kind === "begun" ? sequence : sequence + 1);
  }
}

export interface OpenOnOptions {
  readonly dir: string;
  /** False: undefined is returned for an empty store instead of a new journal. */
  readonly create: boolean;
  readonly now?: () => number;
  /** For a journal whose index is not there or not complete, to be built from the records. */
  readonly topicsOf?: TopicsOf;
  readonly onClose?: () => Promise<void>;
}

/**
 * Opens the journal in an ordered store.
 * @throws QcowalError JOURNAL_DAMAGED, NO_SPACE, IO_FAILED
 */
export async function openJournalOn(store: Store, options: OpenOnOptions): Promise<Journal | undefined> {
  const { dir, create, now = Date.now, onClose = () => Promise.resolve() } = options;
  const last = await store.last();
  if (last === undefined) {
    if (!create) return undefined;
    await writeGenesis(store, now());
    return openJournalOn(store, options);
  }
  if (!isLogKey(last[0])) throw damaged(dir, GENESIS, "is missing");
  const end = await findTail(dir, store, last);
  const { tail, tornTail } = end;
  const genesis = await read(dir, store, GENESIS);
  const id = genesisId(genesis);
  if (id === undefined) throw damaged(dir, GENESIS, "is not a genesis record");
  const transactions = new Transactions();
  const before = tail.low > GENESIS ? await read(dir, store, tail.low - 1) : undefined;
  // With nothing pending the tail is no part.
  let newest = tail;
  for await (const record of walk(dir, store, tail.low, tail.sequence, before?.digest ?? NO_DIGEST)) {
    transactions.apply(record);
    if (isIndexed(record.kind)) newest = record;
  }
  assertTorn(dir, end, transactions);
  const index = await LogIndex.open({ dir, store, topicsOf: options.topicsOf }, newest);
  return new Journal({ dir, store, now, onClose, id, tail, transactions, index, tornTail });
}

/** Synced: the id that fences name must not change with a power cut. */
async function writeGenesis(store: Store, time: number): Promise<void> {
  const { value } = encodeRecord({
    sequence: GENESIS,
    kind: "genesis",
    transaction: 0,
    time,
    low: GENESIS + 1,
    body: { id: randomUUID() },
    previous: NO_DIGEST,
  });
  await store.put([[keyOf(GENESIS), value], versionEntry()], true);
}
