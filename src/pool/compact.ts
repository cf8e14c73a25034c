import type { CompactionReport, Journal } from "../../journal/index.ts";
import { type Environment, currentActor } from "../engine/index.ts";

/** What stays: the intents that one of the first two options covers. Without them none of a transaction that is over. */
export interface CompactOptions {
  /** The intents of so many of the newest ended transactions stay. Default 0. */
  readonly keepTransactions?: number;
  /** Those of transactions that ended at this time or later stay, in milliseconds since 1970. Default: any may go. */
  readonly olderThan?: number;
  /** Read and verify only: report what would be dropped, write nothing. */
  readonly dryRun?: boolean;
  /** Ends it with ABORTED: what was dropped by then is, and the journal is whole. */
  readonly signal?: AbortSignal;
  /** A name for the record, beside user, host, pid and program. */
  readonly actor?: string;
  /** Why, for the record. */
  readonly reason?: string;
}

/** Who asked for it, and why, goes into the record of the compaction. */
export function compactJournal(
  journal: Journal,
  environment: Environment,
  { actor: name, reason, ...options }: CompactOptions,
): Promise<CompactionReport> {
  const actor = currentActor(environment.program, name);
  return journal.compact({ ...options, by: { actor, ...(reason === undefined ? {} : { reason }) } });
}
