import type { QcowalError } from "../errors/index.ts";
import type { RecoveredTransaction, RunOptions } from "../engine/index.ts";
import type { DeleteOperation, RepairOperation, RevertOperation } from "../plan/index.ts";

export interface PoolOptions {
  /** False: JOURNAL_NOT_FOUND when the directory holds no journal. Default true: one is made. */
  readonly create?: boolean;
  /** How long to wait, in milliseconds, while another process holds the journal. Default 10 000. */
  readonly waitMs?: number;
  /** Name of the embedding program, for the record. Default: that of the running script. */
  readonly program?: string;
}

export type SnapshotOptions = RunOptions & { readonly force?: boolean; readonly auto?: true };

export type RevertOptions = RunOptions & Pick<RevertOperation, "dropBitmaps" | "keep">;

export type DeleteOptions = RunOptions & Pick<DeleteOperation, "recoverableFor" | "evenIfHeld">;

export interface UndoOptions extends RunOptions {
  /** Number of the transaction. Default: the last one that is neither an undo nor undone. */
  readonly transaction?: number;
  /** Name of a snapshot of the disk as it is now, where a revert is undone: what was written since stays there. */
  readonly keep?: string;
}

export type RenameOptions = RunOptions & { readonly force?: boolean };

export type MendOptions = RunOptions & Omit<RepairOperation, "type" | "image">;

/** One or several. */
export type Images = string | readonly string[];

/** Which snapshot: its exact name, or `{ id }`. */
export type SnapshotRef = string | { readonly id: string };

export interface RecoverOptions {
  /** A name for the record, beside user, host, pid and program. */
  readonly actor?: string;
  /** Why, for the record. */
  readonly reason?: string;
  /** Judge only: report what would be done, write nothing to images and record. */
  readonly dryRun?: boolean;
  /** Ends it with ABORTED before the next transaction: what is recovered is, and the rest stays pending. */
  readonly signal?: AbortSignal;
}

/** What the recovery of several transactions did, and what it could not do. */
export interface RecoveryReport {
  readonly recovered: readonly RecoveredTransaction[];
  /** Transactions that stay pending, with the reason. Empty when all went well. */
  readonly failed: readonly { readonly transaction: number; readonly error: QcowalError }[];
}

export function selection(snapshot: SnapshotRef): { name: string } | { id: string } {
  return typeof snapshot === "string" ? { name: snapshot } : { id: snapshot.id };
}
