import type { JournalInfo } from "./info.ts";
import type { TransactionsRange } from "./log-index.ts";
import type { JournalRecord, RecordKind, StoredRecord } from "./record.ts";
import type { Link } from "./stub.ts";
import type { TornTail } from "./tail.ts";
import type { PendingTransaction } from "./transactions.ts";
import type { JournalVerdict, VerifyOptions } from "./verify-chain.ts";

/** Sequences, both included. */
export interface RecordRange {
  readonly from?: number;
  readonly to?: number;
}

/** The last record of a journal. */
export interface JournalHead {
  readonly sequence: number;
  /** In hex. Kept elsewhere, it proves later that nothing was edited or cut off. */
  readonly digest: string;
}

/** What can be read of a journal, whether it is held by this process or looked at beside its holder. */
export interface JournalReader extends AsyncDisposable {
  /** Absolute path of the journal's directory. */
  readonly dir: string;
  /** Born with the genesis record: a copy of the directory has the same, another journal has not. */
  readonly id: string;
  /** Records that were set aside when it was opened: they were never acknowledged. */
  readonly tornTail: TornTail | undefined;
  readonly head: JournalHead;
  /** Transactions that are neither settled nor aborted, in the order in which they began. */
  pending(): readonly PendingTransaction[];
  /**
   * Bodies of a transaction's parts, in order.
   * @throws QcowalError JOURNAL_DAMAGED
   */
  parts(transaction: number): AsyncGenerator<unknown>;
  /**
   * When the parts of a transaction were dropped, in milliseconds since 1970, and
   * by which record; undefined when they are there or there were none.
   */
  compactionOf(
    transaction: number,
  ): Promise<{ readonly sequence: number; readonly time: number } | undefined>;
  /** What the journal holds; `isTopic` says which topics count. Costs the index, not the log. */
  info(isTopic?: (topic: string) => boolean): Promise<JournalInfo>;
  /** The records with what stands for the dropped ones: all that the chain consists of. */
  links(range?: RecordRange): AsyncGenerator<Link>;
  /** Numbers of the transactions and notes that were recorded under `topic`, ascending unless `reverse`. */
  transactionsOf(topic: string, range?: TransactionsRange): AsyncGenerator<number>;
  /** The records of one transaction without its parts, or the one note; those of `kinds` only, where that is given. */
  recordsOf(number: number, kinds?: readonly RecordKind[]): Promise<readonly JournalRecord[]>;
  /**
   * Records in order, each verified against the one before.
   * @throws QcowalError JOURNAL_DAMAGED naming the first that is missing, torn or edited
   */
  records(range?: RecordRange): AsyncGenerator<StoredRecord>;
  /**
   * Walks the whole chain. `head` is a digest that was seen earlier: it has to
   * be that of a record, else the end of the journal was cut off.
   * @throws QcowalError JOURNAL_DAMAGED with `sequence`, `expected` and `found` in its details
   */
  verify(options?: VerifyOptions): Promise<JournalVerdict>;
  /** Idempotent. */
  close(): Promise<void>;
}
