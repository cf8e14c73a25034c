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
import { QcowalError } from "../src/errors/index.ts";
import { GENESIS, linkAt, read, walkLinks } from "./chain.ts";
import {
  type Beside,
  type CompactionPolicy,
  type CompactionReport,
  type CompactLogOptions,
  compactLog,
  expendable,
} from "./compaction.ts";
import { DroppedRuns } from "./dropped-runs.ts";
import type { HeldIntents } from "./index-entries.ts";
import { type JournalInfo, journalInfo } from "./info.ts";
import { type Appended, Log, type LogState } from "./log.ts";
import type { LogIndex, TransactionsRange } from "./log-index.ts";
import type { JournalHead, JournalReader, RecordRange } from "./journal-reader.ts";
import { type JournalRecord, NO_DIGEST, type RecordKind, type StoredRecord, hex } from "./record.ts";
import type { Store } from "./store.ts";
import { Housekeeping, type Retention } from "./retention.ts";
import { type Link, type Stub, endOf, isStub } from "./stub.ts";
import type { TornTail } from "./tail.ts";
import type { PendingTransaction } from "./transactions.ts";
import { type JournalVerdict, type VerifyOptions, verifyChain } from "./verify-chain.ts";

interface JournalState extends LogState {
  readonly onClose: () => Promise<void>;
  readonly id: string;
  readonly retention: Retention;
}

/** Default: all intents of transactions that are over. */
export interface CompactOptions extends Partial<Omit<CompactionPolicy, "maxBytes">> {
  /** Read and verify only: say what would be dropped, write nothing. */
  readonly dryRun?: boolean;
  /** On whose behalf, for the record. */
  readonly by?: unknown;
  /** Ends it with ABORTED: what was dropped by then is, and the journal is whole. */
  readonly signal?: AbortSignal;
}

export class Journal implements JournalReader {
  /** Absolute path of the journal's directory. */
  readonly dir: string;
  /** Born with the genesis record: a copy of the directory has the same, another journal has not. */
  readonly id: string;
  /** Records that were set aside when it was opened: they were never acknowledged. */
  readonly tornTail: TornTail | undefined;
  readonly #store: Store;
  readonly #onClose: () => Promise<void>;
  readonly #index: LogIndex;
  readonly #log: Log;
  /** Compactions go one after the other, beside the appends. */
  #compacting: Promise<unknown> = Promise.resolve();
  readonly #housekeeping: Housekeeping;
  #isKeepingHouse = false;
  #closed: Promise<void> | undefined;

  /** @internal Use `openJournal` or `openJournalOn`. */
  constructor(state: JournalState) {
    this.dir = state.dir;
    this.id = state.id;
    this.tornTail = state.tornTail;
    this.#store = state.store;
    this.#onClose = state.onClose;
    this.#index = state.index;
    this.#housekeeping = new Housekeeping(state.retention, state.tail.sequence);
    this.#log = new Log(state, (partBytes) => {
      this.#housekeeping.ended(partBytes);
      const isDue = this.#housekeeping.isDue(this.pending().length === 0);
      if (isDue && !this.#isKeepingHouse) void this.#keepHouse();
    });
  }

  /**
   * Begins a transaction and returns its number. Not synced: until it is prepared
   * it may vanish. `topics` are what it is found by with `transactionsOf`, such as
   * the paths of images. With `isHeld` it is written with the next record, and nobody reads it before.
   */
  async begin(body: unknown, topics: readonly string[] = [], isHeld = false): Promise<number> {
    const begun: Appended = { kind: "begun", transaction: undefined, body, sync: false, topics };
    if (!isHeld) return this.#append(begun);
    this.#assertOpen();
    return this.#log.hold(begun);
  }

  /** Adds a piece of the plan; at most 1 MiB encoded, else a TypeError. Not synced. */
  async part(transaction: number, body: unknown): Promise<void> {
    await this.#append({ kind: "part", transaction, body, sync: false });
  }

  /**
   * The plan is complete, with `parts`, each as for `part`, as its last pieces: those of a short plan are
   * one write with its end. Synced: when it resolves, everything of this transaction survives a power cut.
   */
  async prepare(transaction: number, body: unknown, parts: Iterable<unknown> = []): Promise<void> {
    this.#assertOpen();
    const records = function* (): Generator<Appended> {
      for (const part of parts) yield { kind: "part", transaction, body: part, sync: false };
      yield { kind: "prepared", transaction, body, sync: true };
    };
    await this.#log.appendAll(records(), (sequence, appended) => this.#tell(sequence, appended));
  }

  /** The decision. Synced. */
  async commit(transaction: number, body?: unknown): Promise<void> {
    await this.#append({ kind: "committed", transaction, body, sync: true });
  }

  /** The transaction is fully applied. Not synced: when it is lost, recovery finds that and says so again. */
  async settle(transaction: number, body?: unknown): Promise<void> {
    await this.#append({ kind: "settled", transaction, body, sync: false });
  }

  /** The transaction never happened. Not synced, as for `settle`. */
  async abort(transaction: number, body?: unknown): Promise<void> {
    await this.#append({ kind: "aborted", transaction, body, sync: false });
  }

  /**
   * An observation outside any transaction. Returns its sequence, which is its number. `topics` as for `begin`.
   * Not synced, unless `sync` says that nobody can see it again.
   */
  note(body: unknown, topics: readonly string[] = [], sync = false): Promise<number> {
    return this.#append({ kind: "note", transaction: 0, body, sync, topics });
  }

  /** Transactions that are neither settled nor aborted, in the order in which they began. */
  pending(): readonly PendingTransaction[] {
    return this.#log.pending;
  }

  /**
   * Bodies of a transaction's parts, in order.
   * @throws QcowalError JOURNAL_DAMAGED, JOURNAL_COMPACTED when they were dropped
   */
  async *parts(transaction: number): AsyncGenerator<unknown> {
    for await (const link of this.links({ from: transaction })) {
      if (link.transaction !== transaction) continue;
      if (isStub(link)) throw await this.#compacted(link);
      if (link.kind === "part") yield link.body;
      else if (link.kind !== "begun") return;
    }
  }

  /** Called with every record that is appended from now on, in order; what it throws is ignored. */
  onAppend: (record: Pick<JournalRecord, "sequence" | "kind" | "transaction">) => void = () => undefined;

  /** True while nothing was ever recorded. */
  get isFresh(): boolean {
    return this.#log.tail.sequence === GENESIS;
  }

  /** The last record. */
  get head(): JournalHead {
    const { sequence, digest } = this.#log.tail;
    return { sequence, digest: hex(digest) };
  }

  /**
   * When the parts of a transaction were dropped, in milliseconds since 1970, and
   * by which record; undefined when they are there or there were none.
   * @throws QcowalError JOURNAL_DAMAGED
   */
  async compactionOf(
    transaction: number,
  ): Promise<{ readonly sequence: number; readonly time: number } | undefined> {
    for await (const link of this.links({ from: transaction })) {
      if (link.transaction !== transaction) continue;
      if (isStub(link)) {
        const { sequence, time } = await read(this.dir, this.#store, link.compaction);
        return { sequence, time };
      }
      if (link.kind !== "begun") return undefined;
    }
    return undefined;
  }

  async #compacted({ transaction, compaction }: Stub): Promise<QcowalError> {
    const { time } = await read(this.dir, this.#store, compaction);
    return new QcowalError(
      "JOURNAL_COMPACTED",
      `${this.dir}: the intents of transaction ${transaction} were dropped by a compaction on ${new Date(time).toISOString()}. Nothing was changed; what it did is still on the record.`,
      { details: { journal: this.dir, transaction, compaction, time } },
    );
  }

  /**
   * Numbers of the transactions that touch a topic, and of such notes, by the
   * index: costs what is found, not what ever happened.
   * @throws TypeError for a range that is none
   * @throws QcowalError JOURNAL_DAMAGED
   */
  async *transactionsOf(topic: string, range: TransactionsRange = {}): AsyncGenerator<number> {
    this.#assertOpen();
    const { reverse = false, from = GENESIS, to = this.#log.tail.sequence } = range;
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to)) {
      throw new TypeError(`from and to are numbers of transactions, not ${from} and ${to}`);
    }
    const [first, last] = [Math.max(from, GENESIS), Math.min(to, this.#log.tail.sequence)];
    if (first <= last) yield* this.#index.transactionsOf(topic, first, last, reverse);
  }

  /**
   * The records of a transaction without its parts, or the one note of that
   * number; empty where nothing has the number. Of `kinds` only, where that is given. Each is verified for itself,
   * not against the one before. Costs neither the length of the journal nor the parts.
   * @throws QcowalError JOURNAL_DAMAGED
   */
  async recordsOf(number: number, kinds?: readonly RecordKind[]): Promise<readonly JournalRecord[]> {
    this.#assertOpen();
    return this.#exists(number) ? this.#index.recordsOf(number, this.#log.tail.sequence, kinds) : [];
  }

  /**
   * One record, verified for itself; undefined where the journal has not come to it yet.
   * @throws TypeError for what is no sequence
   * @throws QcowalError JOURNAL_DAMAGED, JOURNAL_COMPACTED when it was dropped
   */
  async record(sequence: number): Promise<JournalRecord | undefined> {
    this.#assertOpen();
    if (!this.#exists(sequence)) return undefined;
    const link = await linkAt(this.dir, this.#store, sequence);
    if (isStub(link)) throw await this.#compacted(link);
    return link;
  }

  #exists(sequence: number): boolean {
    if (!Number.isSafeInteger(sequence)) throw new TypeError(`${sequence} is not the number of a record`);
    return sequence >= GENESIS && sequence <= this.#log.tail.sequence;
  }

  /**
   * Records in order, each verified against the one before, without what
   * compactions dropped.
   * @throws QcowalError JOURNAL_DAMAGED naming the first that is missing, torn or edited
   */
  async *records(range: RecordRange = {}): AsyncGenerator<StoredRecord> {
    for await (const link of this.links(range)) if (!isStub(link)) yield link;
  }

  /**
   * The same with what stands for the dropped ones: all that the chain consists
   * of. Over the whole of it, what was dropped is held against what the records of
   * compactions say.
   * @throws QcowalError JOURNAL_DAMAGED
   */
  async *links(range: RecordRange = {}): AsyncGenerator<Link> {
    this.#assertOpen();
    const { from = GENESIS } = range;
    const to = Math.min(range.to ?? this.#log.tail.sequence, this.#log.tail.sequence);
    const before = from > GENESIS ? await linkAt(this.dir, this.#store, from - 1) : undefined;
    // What begins in the middle of dropped parts begins behind them.
    const first = before === undefined ? GENESIS : endOf(before) + 1;
    const dropped =
      first === GENESIS && to === this.#log.tail.sequence ? new DroppedRuns(this.dir) : undefined;
    const digest = before?.digest ?? NO_DIGEST;
    for await (const link of walkLinks(this.dir, this.#store, first, to, digest)) {
      dropped?.see(link);
      yield link;
    }
    dropped?.end();
  }

  /**
   * Walks the whole chain.
   * @throws QcowalError JOURNAL_DAMAGED naming the first record that is missing, torn or edited, or when no record has
   * the digest `head`
   */
  async verify(options: VerifyOptions = {}): Promise<JournalVerdict> {
    return verifyChain(this, options);
  }

  /** What the journal holds; `isTopic` says which topics count. Costs the index, not the log. */
  async info(isTopic: (topic: string) => boolean = () => true): Promise<JournalInfo> {
    this.#assertOpen();
    return journalInfo({
      dir: this.dir,
      id: this.id,
      store: this.#store,
      index: this.#index,
      tail: this.#log.tail,
      pending: this.#log.pending.length,
      isTopic,
    });
  }

  /**
   * Drops the intents (parts) of transactions that are over; what was done, when
   * and by whom stays, and the chain still verifies. It may be called while
   * transactions run, and be interrupted at any moment.
   * @throws TypeError for malformed options
   * @throws QcowalError JOURNAL_DAMAGED when something that is to be dropped does not verify, NO_SPACE, IO_FAILED, ABORTED
   */
  async compact(options: CompactOptions = {}): Promise<CompactionReport> {
    this.#assertOpen();
    const {
      keepTransactions = 0,
      olderThan = Number.POSITIVE_INFINITY,
      dryRun = false,
      by = null,
      signal,
    } = options;
    if (!Number.isSafeInteger(keepTransactions) || keepTransactions < 0) {
      throw new TypeError("keepTransactions is a number of transactions");
    }
    if (typeof olderThan !== "number" || Number.isNaN(olderThan)) {
      throw new TypeError("olderThan is a time in milliseconds since 1970");
    }
    const policy = { keepTransactions, olderThan, maxBytes: Number.POSITIVE_INFINITY };
    return this.#compact((held) => expendable(held, policy), { dryRun, by, signal });
  }

  #compact(
    choose: (held: readonly HeldIntents[]) => readonly HeldIntents[],
    options: CompactLogOptions,
  ): Promise<CompactionReport> {
    const log = {
      dir: this.dir,
      store: this.#store,
      append: (body: unknown, beside: (sequence: number) => Beside): Promise<number> =>
        this.#log.append({ kind: "compacted", transaction: 0, body, sync: true, beside }),
    };
    const report = this.#compacting.then(async () => {
      const pending = new Set(this.#log.pending.map(({ transaction }) => transaction));
      const held = await this.#index.held(this.#log.tail.sequence);
      const over = held.filter(({ transaction }) => !pending.has(transaction));
      return compactLog(log, choose(over), options);
    });
    this.#compacting = report.catch(() => undefined);
    return report;
  }

  /** Nobody asked for it, so nobody hears of its failure: what is too much stays, or the journal says so itself. */
  async #keepHouse(): Promise<void> {
    // Without a complete index it would have to read everything.
    if (!this.#index.isComplete || this.#log.hasFailed) return;
    this.#isKeepingHouse = true;
    await this.#compact((held) => this.#housekeeping.choose(held), { dryRun: false, by: null }).catch(
      () => undefined,
    );
    this.#isKeepingHouse = false;
  }

  /** Idempotent. Waits for appends and compactions under way. */
  async close(): Promise<void> {
    this.#closed ??= this.#finish();
    await this.#closed;
  }

  async #finish(): Promise<void> {
    await Promise.all([this.#log.idle(), this.#compacting]);
    if (this.#housekeeping.isDueAtClose(this.#log.tail.sequence)) await this.#keepHouse();
    // What belongs to the holder goes first: once the store is closed, the next one is in.
    await this.#onClose();
    await this.#store.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #assertOpen(): void {
    if (this.#closed !== undefined) {
      throw new QcowalError("POOL_CLOSED", `${this.dir}: the journal is closed. Nothing was changed.`);
    }
  }

  async #append(appended: Appended): Promise<number> {
    this.#assertOpen();
    const sequence = await this.#log.append(appended);
    this.#tell(sequence, appended);
    return sequence;
  }

  #tell(sequence: number, { kind, transaction }: Appended): void {
    try {
      this.onAppend({ sequence, kind, transaction: transaction ?? sequence });
    } catch {
      // The record stands, whatever the listener makes of it.
    }
  }
}
