/** The writing end of the log: makes each record the next link of the chain. */
import { QcowalError } from "../src/errors/index.ts";
import { keyOf } from "./chain.ts";
import type { Beside } from "./compaction.ts";
import { indexEntries, isIndexed } from "./index-entries.ts";
import type { LogIndex } from "./log-index.ts";
import { type JournalRecord, type RecordKind, type StoredRecord, encodeRecord } from "./record.ts";
import type { Entry, Store } from "./store.ts";
import { type TornTail, staleKeys } from "./tail.ts";
import type { PendingTransaction, Transactions } from "./transactions.ts";

/** Largest encoded record; longer contents are split by the caller. */
const MAX_RECORD_BYTES = 1024 * 1024 + 64 * 1024;

/** What is put at a time where records come one after the other: a small plan is one put with its end. */
const BATCH_BYTES = 256 * 1024;

/** A record to be appended, and what is written with it. */
export interface Appended {
  readonly kind: RecordKind;
  /** Undefined for the sequence that it gets. */
  readonly transaction: number | undefined;
  readonly body: unknown;
  readonly sync: boolean;
  readonly topics?: readonly string[];
  readonly beside?: (sequence: number) => Beside;
}

/** A record that is encoded, and all that is put with it. */
interface NewLink {
  readonly record: JournalRecord;
  readonly value: Uint8Array;
  readonly topics: readonly string[];
  readonly sync: boolean;
  readonly entries: readonly Entry[];
  /** Keys that go. */
  readonly dropped: readonly string[];
  /** Something that was there before goes or changes. */
  readonly displaces: boolean;
  /** Length of the parts that its transaction has before it. */
  readonly partBytes: number;
}

interface Written {
  readonly written: readonly Appended[];
  readonly sequences: readonly number[];
  /** Nothing is waiting any more. */
  readonly isLast: boolean;
}

export interface LogState {
  readonly dir: string;
  readonly store: Store;
  readonly now: () => number;
  readonly tail: StoredRecord;
  readonly transactions: Transactions;
  readonly index: LogIndex;
  readonly tornTail: TornTail | undefined;
}

export class Log {
  readonly #dir: string;
  readonly #store: Store;
  readonly #now: () => number;
  readonly #transactions: Transactions;
  readonly #index: LogIndex;
  /** Told of each transaction that has ended and has parts, with their length in bytes. */
  readonly #onEnd: (partBytes: number) => void;
  /** Linked, and not put yet. */
  #held: NewLink[] = [];
  /** The last record that is put. */
  tail: Pick<StoredRecord, "sequence" | "digest">;
  /** Keys of what was set aside; the next append takes their place. */
  #stale: readonly string[];
  /** Each append needs the digest of the one before. */
  #queue: Promise<unknown> = Promise.resolve();
  #failed: unknown;

  constructor(state: LogState, onEnd: (partBytes: number) => void) {
    this.#dir = state.dir;
    this.#store = state.store;
    this.#now = state.now;
    this.#transactions = state.transactions;
    this.#index = state.index;
    this.#onEnd = onEnd;
    this.tail = state.tail;
    this.#stale = staleKeys(state.tornTail);
  }

  get pending(): readonly PendingTransaction[] {
    return this.#transactions.pending;
  }

  /** After a failed write nobody knows what is on disk. */
  get hasFailed(): boolean {
    return this.#failed !== undefined;
  }

  /** Resolves when everything that was appended so far is there or has failed. */
  async idle(): Promise<void> {
    const putHeld = (): Promise<void> => (this.hasFailed ? Promise.resolve() : this.#put([]));
    await this.#inTurn(putHeld).catch(() => undefined);
  }

  /**
   * As `append`, but put with what is appended next: whoever acts on it appends
   * something that is synced before. Until then no reader sees it.
   */
  hold(appended: Appended): Promise<number> {
    return this.#inTurn(async () => {
      this.#assertWhole();
      const link = this.#linkBehind(this.#end, appended);
      this.#held.push(link);
      this.#transactions.apply(link.record, link.value.length);
      return Promise.resolve(link.record.sequence);
    });
  }

  /** Appends go one after the other, in the order of the calls. Returns the sequence. */
  async append(appended: Appended): Promise<number> {
    const { sequences } = await this.#inTurn(() => this.#write([appended][Symbol.iterator]()));
    return sequences[0] ?? this.tail.sequence;
  }

  /**
   * Appends records that come one after the other, none of which another one has to
   * come before: in as few puts as their length allows, between which others may
   * append. `onAppend` is told of each when it is there.
   */
  async appendAll(
    appended: Iterable<Appended>,
    onAppend: (sequence: number, appended: Appended) => void,
  ): Promise<void> {
    const waiting = appended[Symbol.iterator]();
    for (;;) {
      const { sequences, written, isLast } = await this.#inTurn(() => this.#write(waiting));
      for (const [index, one] of written.entries()) onAppend(sequences[index] ?? 0, one);
      if (isLast) return;
    }
  }

  #inTurn<Result>(write: () => Promise<Result>): Promise<Result> {
    const result = this.#queue.then(write);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #assertWhole(): void {
    if (this.#failed === undefined) return;
    throw new QcowalError(
      "IO_FAILED_EARLIER",
      `${this.#dir}: an earlier write of the journal failed; reopen it, recovery decides.`,
      { cause: this.#failed },
    );
  }

  /** What the next record follows. */
  get #end(): Pick<StoredRecord, "sequence" | "digest"> {
    return this.#held.at(-1)?.record ?? this.tail;
  }

  /** Puts what fits into one batch, or at least one record. */
  async #write(waiting: Iterator<Appended>): Promise<Written> {
    this.#assertWhole();
    const written: Appended[] = [];
    const links: NewLink[] = [];
    let isLast = false;
    let tail = this.#end;
    for (let bytes = 0; bytes < BATCH_BYTES;) {
      const next = waiting.next();
      isLast = next.done === true;
      if (next.done === true) break;
      const link = this.#linkBehind(tail, next.value);
      written.push(next.value);
      links.push(link);
      tail = link.record;
      bytes += link.value.length;
    }
    await this.#put(links);
    return { written, sequences: links.map(({ record }) => record.sequence), isLast };
  }

  #linkBehind(
    tail: Pick<StoredRecord, "sequence" | "digest">,
    { kind, transaction, body, sync, topics = [], beside }: Appended,
  ): NewLink {
    const sequence = tail.sequence + 1;
    const step = { kind, transaction: transaction ?? sequence };
    this.#transactions.check(step);
    const low = this.#lowAfter(step, sequence);
    const partBytes = this.#transactions.partBytesOf(step.transaction);
    const record = { ...step, sequence, time: this.#now(), body: body ?? null, low, previous: tail.digest };
    const { value, digest } = encodeRecord(record);
    if (value.length > MAX_RECORD_BYTES) {
      throw new TypeError(`a journal record has at most 1 MiB, this one has ${value.length} bytes`);
    }
    const own = indexEntries({ ...record, digest }, topics, partBytes);
    const { entries: others = [], stale: dropped = [] } = beside?.(sequence) ?? {};
    const entries: Entry[] = [[keyOf(sequence), value], ...own, ...others];
    const displaces = dropped.length > 0 || others.length > 0;
    return { record: { ...record, digest }, value, topics, sync, entries, dropped, displaces, partBytes };
  }

  /** Puts these, behind those that were held. */
  async #put(added: readonly NewLink[]): Promise<void> {
    const links = [...this.#held, ...added];
    if (links.length === 0) return;
    const entries = links.flatMap((link) => link.entries);
    const dropped = links.flatMap((link) => link.dropped);
    try {
      // Synced with the removal: were only that lost, the chain would end in records of two lives.
      const stale = await this.#staleBut(entries);
      // What goes must not be gone while the end of its transaction, or any link on the way to this record, is
      // lost in a power cut: first everything before is made durable.
      if (links.some(({ displaces }) => displaces)) await this.#store.put([], true);
      const sync = links.some((link) => link.sync) || stale.length > 0;
      await this.#store.put(entries, sync, [...stale, ...dropped]);
    } catch (error) {
      // Nobody knows whether it is on disk: only reading the journal again can tell.
      this.#failed = error;
      throw error;
    }
    this.#stale = [];
    this.#held = [];
    for (const { record, value } of added) this.#transactions.apply(record, value.length);
    for (const { record, value, topics } of links) {
      this.tail = { sequence: record.sequence, digest: record.digest };
      if (isIndexed(record.kind)) this.#index.appended(record, value, topics);
    }
    for (const { record, partBytes } of links) {
      if (partBytes > 0 && isEnd(record.kind)) this.#onEnd(partBytes);
    }
  }

  /** What was set aside leads nowhere in the index either. */
  async #staleBut(entries: readonly Entry[]): Promise<string[]> {
    if (this.#stale.length === 0) return [];
    const leads = await this.#index.staleKeys(this.tail.sequence + 1);
    return [...this.#stale, ...leads].filter((stale) => !entries.some(([key]) => key === stale));
  }

  #lowAfter({ kind, transaction }: { kind: RecordKind; transaction: number }, sequence: number): number {
    const ends = isEnd(kind);
    const others = this.#transactions.pending.filter(
      (pending) => !ends || pending.transaction !== transaction,
    );
    return others[0]?.transaction ?? (kind === "begun" ? sequence : sequence + 1);
  }
}

const isEnd = (kind: RecordKind): boolean => kind === "settled" || kind === "aborted";
