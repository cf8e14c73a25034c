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
import { QcowalError, invariant } from "../src/errors/index.ts";
import {
  type JournalRecord,
  NO_DIGEST,
  RecordError,
  type RecordKind,
  type StoredRecord,
  decodeRecord,
  encodeRecord,
  hex,
} from "./record.ts";
import type { Store } from "./store.ts";
import { type PendingTransaction, Transactions } from "./transactions.ts";

/** Largest encoded record; longer contents are split by the caller. */
const MAX_RECORD_BYTES = 1024 * 1024 + 64 * 1024;
const GENESIS = 1;

/** The end of a log that a power cut tore: from `sequence` to the last record that is there. */
export interface TornTail {
  readonly sequence: number;
  readonly last: number;
  readonly reason: string;
}

export interface RecordRange {
  readonly from?: number;
  readonly to?: number;
}

/** Fixed width, so that the order of keys is the order of the log. */
const keyOf = (sequence: number): string => sequence.toString(16).padStart(16, "0");

interface JournalState {
  readonly dir: string;
  readonly store: Store;
  readonly now: () => number;
  readonly onClose: () => Promise<void>;
  readonly id: string;
  readonly tail: StoredRecord;
  readonly transactions: Transactions;
  readonly tornTail: TornTail | undefined;
}

export class Journal implements AsyncDisposable {
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
  }

  /** Begins a transaction and returns its number. Not synced: until it is prepared it may vanish. */
  begin(body: unknown): Promise<number> {
    return this.#append("begun", undefined, body, false);
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

  /** An observation outside any transaction. Not synced. Returns its sequence. */
  note(body: unknown): Promise<number> {
    return this.#append("note", 0, body, false);
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

  /**
   * Records in order, each verified against the one before.
   * @throws QcowalError JOURNAL_DAMAGED naming the first that is missing, torn or edited
   */
  async *records(range: RecordRange = {}): AsyncGenerator<JournalRecord> {
    this.#assertOpen();
    const { from = GENESIS, to = this.#tail.sequence } = range;
    const before = from > GENESIS ? await read(this.dir, this.#store, from - 1) : undefined;
    yield* walk(this.dir, this.#store, from, Math.min(to, this.#tail.sequence), before?.digest ?? NO_DIGEST);
  }

  /** Walks the whole chain. `head` is the last digest in hex: kept elsewhere, it proves later that nothing was cut off. */
  async verify(): Promise<{ readonly records: number; readonly head: string }> {
    let records = 0;
    let head: Uint8Array = NO_DIGEST;
    for await (const { digest } of this.records()) {
      records += 1;
      head = digest;
    }
    return { records, head: hex(head) };
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
  ): Promise<number> {
    this.#assertOpen();
    const result = this.#queue.then(() => this.#write(kind, transaction, body, sync));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #write(
    kind: RecordKind,
    transaction: number | undefined,
    body: unknown,
    sync: boolean,
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
      // Synced with the removal: were only that lost, the chain would end in records of two lives.
      const stale = this.#stale.filter((key) => key !== keyOf(sequence));
      await this.#store.put([[keyOf(sequence), value]], sync || stale.length > 0, stale);
    } catch (error) {
      // Nobody knows whether it is on disk: only reading the journal again can tell.
      this.#failed = error;
      throw error;
    }
    this.#transactions.apply({ ...record, digest });
    this.#tail = { sequence, digest };
    this.#stale = [];
    return sequence;
  }

  #lowAfter({ kind, transaction }: { kind: RecordKind; transaction: number }, sequence: number): number {
    const ends = kind === "settled" || kind === "aborted";
    const others = this.#transactions.pending.filter(
      (pending) => !ends || pending.transaction !== transaction,
    );
    return others[0]?.transaction ?? (kind === "begun" ? sequence : sequence + 1);
  }
}

function damaged(dir: string, sequence: number, what: string): QcowalError {
  return new QcowalError(
    "JOURNAL_DAMAGED",
    `${dir}: record ${sequence} ${what}. Nothing was changed and nothing is replayed from this journal; restore it from a backup, or repair the images by a scan.`,
    { details: { journal: dir, sequence } },
  );
}

async function read(dir: string, store: Store, sequence: number): Promise<StoredRecord> {
  const value = await store.get(keyOf(sequence));
  if (value === undefined) throw damaged(dir, sequence, "is missing");
  return verified(dir, sequence, value);
}

function verified(dir: string, sequence: number, value: Uint8Array): StoredRecord {
  try {
    const record = decodeRecord(value);
    if (record.sequence !== sequence) throw new RecordError(`it is record ${record.sequence}, moved here`);
    return record;
  } catch (error) {
    if (!(error instanceof RecordError)) throw error;
    throw damaged(dir, sequence, `does not verify: ${error.message}`);
  }
}

/** Records `from` to `to`, each verified; `previous` is the digest before the first. */
async function* walk(
  dir: string,
  store: Store,
  from: number,
  to: number,
  previous: Uint8Array,
): AsyncGenerator<StoredRecord> {
  let expected = from;
  let digest = previous;
  for await (const [key, value] of store.entries(keyOf(from), keyOf(to))) {
    if (key !== keyOf(expected)) throw damaged(dir, expected, "is missing");
    const record = verified(dir, expected, value);
    if (Buffer.compare(record.previous, digest) !== 0) {
      throw damaged(
        dir,
        expected,
        `follows ${hex(record.previous)}, expected ${hex(digest)}: the chain is broken`,
      );
    }
    yield record;
    digest = record.digest;
    expected += 1;
  }
  if (expected <= to) throw damaged(dir, expected, "is missing");
}

export interface OpenOnOptions {
  readonly dir: string;
  /** False: undefined is returned for an empty store instead of a new journal. */
  readonly create: boolean;
  readonly now?: () => number;
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
  const end = await findTail(dir, store, last);
  const { tail, tornTail } = end;
  const genesis = await read(dir, store, GENESIS);
  const id = (genesis.body as { readonly id?: unknown } | null)?.id;
  if (genesis.kind !== "genesis" || typeof id !== "string")
    throw damaged(dir, GENESIS, "is not a genesis record");
  const transactions = new Transactions();
  const before = tail.low > GENESIS ? await read(dir, store, tail.low - 1) : undefined;
  for await (const record of walk(dir, store, tail.low, tail.sequence, before?.digest ?? NO_DIGEST)) {
    transactions.apply(record);
  }
  assertTorn(dir, end, transactions);
  return new Journal({ dir, store, now, onClose, id, tail, transactions, tornTail });
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
  await store.put([[keyOf(GENESIS), value]], true);
}

/** Whoever appended these waited for the disk, and for all that had been appended before. */
const SYNCED: ReadonlySet<RecordKind> = new Set<RecordKind>(["genesis", "prepared", "committed"]);

/**
 * The last record of the unbroken chain. What the disk has lost or torn behind
 * the last synced record was never acknowledged, so nobody has acted on it, and
 * the next append takes its place. There may be a gap: where a power cut tore a
 * block of LevelDB's log, LevelDB drops the rest of it without a word and reads
 * on in the next block. Recovery looks at the images before it believes that.
 *
 * A gap before a synced record that is followed by others is none of these: that
 * is damage, and whoever reads there says so.
 */
async function findTail(
  dir: string,
  store: Store,
  [key, value]: readonly [string, Uint8Array],
): Promise<End> {
  const sequence = Number.parseInt(key, 16);
  invariant(keyOf(sequence) === key, `the journal's store holds a foreign key ${JSON.stringify(key)}`);
  let last: StoredRecord;
  try {
    last = verified(dir, sequence, value);
  } catch (error) {
    if (!(error instanceof QcowalError) || sequence === GENESIS) throw error;
    const tornTail = { sequence, last: sequence, reason: error.message };
    return { tail: await read(dir, store, sequence - 1), tornTail, behindGap: undefined };
  }
  let tail: StoredRecord | undefined = last;
  let gap: number | undefined;
  for (let at = sequence - 1; at >= GENESIS; at--) {
    const before = await store.get(keyOf(at));
    if (before === undefined) {
      tail = undefined;
      gap = at;
      continue;
    }
    const record = verified(dir, at, before);
    tail ??= record;
    if (SYNCED.has(record.kind)) break;
  }
  if (tail === undefined) throw damaged(dir, GENESIS, "is missing");
  if (gap === undefined) return { tail, tornTail: undefined, behindGap: undefined };
  const { message } = damaged(dir, gap, "is missing");
  return { tail, tornTail: { sequence: gap, last: sequence, reason: message }, behindGap: last };
}

interface End {
  readonly tail: StoredRecord;
  readonly tornTail: TornTail | undefined;
  /** The last record of all, if there is a gap before it. */
  readonly behindGap: StoredRecord | undefined;
}

/** A commit is only written once its prepare is durable: without that, a gap before it is damage. */
function assertTorn(dir: string, { behindGap, tornTail }: End, { pending }: Transactions): void {
  if (tornTail === undefined || behindGap?.kind !== "committed") return;
  const state = pending.find(({ transaction }) => transaction === behindGap.transaction)?.state;
  if (state !== "prepared") throw damaged(dir, tornTail.sequence, "is missing");
}

function staleKeys(torn: TornTail | undefined): string[] {
  if (torn === undefined) return [];
  return Array.from({ length: torn.last - torn.sequence + 1 }, (_, index) => keyOf(torn.sequence + index));
}
