import { invariant } from "../src/errors/index.ts";
import type { JournalRecord } from "./record.ts";

export type TransactionState = "begun" | "prepared" | "committed";

/** A transaction that is neither settled nor aborted. Bodies are those of its records. */
export interface PendingTransaction {
  readonly transaction: number;
  readonly state: TransactionState;
  /** When it began, in milliseconds since 1970. */
  readonly time: number;
  readonly begun: unknown;
  readonly prepared: unknown;
  readonly committed: unknown;
}

/** Which transactions are pending: a fold over records. Every illegal step is a bug of the caller. */
export class Transactions {
  readonly #pending = new Map<number, PendingTransaction>();
  readonly #partBytes = new Map<number, number>();

  get pending(): readonly PendingTransaction[] {
    return [...this.#pending.values()];
  }

  /** Sequence of the first record that a pending transaction still needs, if there is one. */
  get oldest(): number | undefined {
    return this.#pending.keys().next().value;
  }

  /** Encoded length of the parts that a pending transaction has so far. */
  partBytesOf(transaction: number): number {
    return this.#partBytes.get(transaction) ?? 0;
  }

  /** Whether a record may come next. */
  allows({ kind, transaction }: Pick<JournalRecord, "kind" | "transaction">): boolean {
    const state = this.#pending.get(transaction)?.state;
    const legal = {
      genesis: true,
      note: true,
      compacted: true,
      begun: state === undefined,
      part: state === "begun",
      prepared: state === "begun",
      committed: state === "prepared",
      settled: state === "committed",
      aborted: state === "begun" || state === "prepared",
    };
    return legal[kind];
  }

  /** The same; throws when not. */
  check(record: Pick<JournalRecord, "kind" | "transaction">): void {
    const { kind, transaction } = record;
    const state = this.#pending.get(transaction)?.state;
    invariant(
      this.allows(record),
      `journal: ${kind} of transaction ${transaction}, which is ${state ?? "not pending"}`,
    );
  }

  /** `size` is the encoded length of the record. */
  apply({ kind, transaction, time, body }: JournalRecord, size: number): void {
    const pending = this.#pending.get(transaction);
    switch (kind) {
      case "begun":
        this.#pending.set(transaction, {
          transaction,
          state: "begun",
          time,
          begun: body,
          prepared: undefined,
          committed: undefined,
        });
        return;
      case "prepared":
        if (pending) this.#pending.set(transaction, { ...pending, state: "prepared", prepared: body });
        return;
      case "committed":
        if (pending) this.#pending.set(transaction, { ...pending, state: "committed", committed: body });
        return;
      case "settled":
      case "aborted":
        this.#pending.delete(transaction);
        this.#partBytes.delete(transaction);
        return;
      case "part":
        this.#partBytes.set(transaction, this.partBytesOf(transaction) + size);
        return;
      case "genesis":
      case "note":
      case "compacted":
    }
  }
}
