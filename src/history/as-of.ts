import type { HistoryEntry } from "./entry.ts";

/** A moment in the record: after a transaction, or at a time in milliseconds since 1970. */
export type Moment = { readonly transaction: number } | { readonly time: number };

/** What had happened by then: the beginning of a timeline, oldest first. */
export function entriesUntil(entries: readonly HistoryEntry[], moment: Moment): HistoryEntry[] {
  return entries.filter(({ transaction, began, ended = began }) =>
    "transaction" in moment ? transaction <= moment.transaction : ended <= moment.time,
  );
}
