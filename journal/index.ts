export type { JournalHolder } from "./holder.ts";
export { Journal, openJournalOn } from "./journal.ts";
export type { OpenOnOptions, RecordRange, TornTail } from "./journal.ts";
export { openJournal } from "./open-journal.ts";
export type { OpenJournalOptions } from "./open-journal.ts";
export { RECORD_KINDS } from "./record.ts";
export type { JournalRecord, RecordKind } from "./record.ts";
export type { Store } from "./store.ts";
export type { PendingTransaction, TransactionState } from "./transactions.ts";
