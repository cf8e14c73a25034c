import { type CompactionPolicy, expendable } from "./compaction.ts";
import type { HeldIntents } from "./index-entries.ts";

/** What the journal does about its size unasked. */
export interface Retention {
  /** The intents of so many of the newest ended transactions stay, as long as they fit into `maxBytes`. */
  readonly keepTransactions: number;
  /** Bytes of intents of ended transactions that stay at most. */
  readonly maxBytes: number;
  /** Ended transactions, beyond those that stay, after which it is worth the trouble. */
  readonly slack: number;
}

/**
 * An operation has 4 to 12 KiB of intents, on a disk of a terabyte a hundred: the
 * first bound is for the former, the second for the latter. Nothing needs either
 * once it is over; what was done, when and by whom is never dropped.
 */
export const RETENTION: Retention = { keepTransactions: 1000, maxBytes: 32 * 1024 * 1024, slack: 256 };

/** Of a journal that is only looked at. */
export const KEEP_ALL: Retention = { keepTransactions: Infinity, maxBytes: Infinity, slack: Infinity };

/** Where nothing is ever quiet, it waits so many times as long, and no longer. */
const PATIENCE = 4;

/** Counts what has ended since it was last looked at, so that looking costs nothing in between. */
export class Housekeeping {
  readonly #retention: Retention;
  readonly #opened: number;
  #transactions = 0;
  #bytes = 0;

  /** `sequence` is that of the last record. */
  constructor(retention: Retention, sequence: number) {
    this.#retention = retention;
    this.#opened = sequence;
  }

  /** A transaction has ended that has parts of this length. */
  ended(bytes: number): void {
    this.#transactions += 1;
    this.#bytes += bytes;
  }

  /** Whether it is time to look; `isQuiet` while no transaction is under way. */
  isDue(isQuiet: boolean): boolean {
    const { slack, maxBytes } = this.#retention;
    const overdue = Math.max(this.#transactions / slack, this.#bytes / (maxBytes / 2));
    return overdue >= (isQuiet ? 1 : PATIENCE);
  }

  /**
   * Whether to look before the journal is closed, at this last record. A command
   * that ends one small transaction does so now and then: each time would cost
   * more than it saves.
   */
  isDueAtClose(sequence: number): boolean {
    if (this.#transactions === 0) return false;
    const { slack, maxBytes } = this.#retention;
    const isTurn = Math.floor(this.#opened / slack) !== Math.floor(sequence / slack);
    return isTurn || this.#bytes > maxBytes / 128;
  }

  /** What goes. Nothing as long as it is little more than what may stay: a compaction each time would not pay. */
  choose(held: readonly HeldIntents[]): readonly HeldIntents[] {
    this.#transactions = 0;
    this.#bytes = 0;
    const { keepTransactions, maxBytes, slack } = this.#retention;
    const bytes = held.reduce((sum, one) => sum + one.bytes, 0);
    if (held.length < keepTransactions + slack && bytes <= maxBytes) return [];
    const policy: CompactionPolicy = {
      keepTransactions,
      olderThan: Number.POSITIVE_INFINITY,
      maxBytes: bytes > maxBytes ? (maxBytes / 4) * 3 : maxBytes,
    };
    return expendable(held, policy);
  }
}
