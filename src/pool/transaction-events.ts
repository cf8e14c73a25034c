import type { Journal } from "../../journal/index.ts";
import { reasonOf } from "../errors/index.ts";
import { type HistoryEntry, entryAt } from "../history/index.ts";

export type TransactionListener = (entry: HistoryEntry) => void;

/** Records after which a transaction, or what was noted outside any, changes no more. */
const ENDS = new Set(["settled", "aborted", "note"]);

/** Tells listeners what the journal has just recorded as ended, in that order. */
export class TransactionEvents {
  readonly #listeners = new Set<TransactionListener>();
  #delivered: Promise<void> = Promise.resolve();

  constructor(journal: Journal) {
    journal.onAppend = ({ kind, sequence, transaction }) => {
      if (!ENDS.has(kind) || this.#listeners.size === 0) return;
      const number = kind === "note" ? sequence : transaction;
      this.#delivered = this.#delivered.then(() => this.#deliver(journal, number));
    };
  }

  add(listener: TransactionListener): void {
    this.#listeners.add(listener);
  }

  remove(listener: TransactionListener): void {
    this.#listeners.delete(listener);
  }

  /** Resolves when everything so far was told; never rejects. */
  async delivered(): Promise<void> {
    await this.#delivered;
  }

  /** Settles as `work` does, when all that it recorded was told. */
  async deliveredAfter<Result>(work: Promise<Result>): Promise<Result> {
    try {
      return await work;
    } finally {
      await this.#delivered;
    }
  }

  async #deliver(journal: Journal, number: number): Promise<void> {
    try {
      const entry = await entryAt(journal, number);
      if (entry === undefined) return;
      for (const listener of this.#listeners) {
        try {
          listener(entry);
        } catch (error) {
          process.emitWarning(`qcowal: a transaction listener failed: ${reasonOf(error)}`);
        }
      }
    } catch (error) {
      process.emitWarning(
        `qcowal: transaction ${number} cannot be told to its listeners: ${reasonOf(error)}`,
      );
    }
  }
}

/** @throws TypeError */
export function assertEvent(event: unknown, listener: unknown): void {
  if (event !== "transaction")
    throw new TypeError(`unknown event ${JSON.stringify(event)}; known is "transaction"`);
  if (typeof listener !== "function") throw new TypeError("a listener must be a function");
}
