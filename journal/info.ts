import { GENESIS, read } from "./chain.ts";
import { decodeCompacted } from "./compacted-body.ts";
import type { LogIndex } from "./log-index.ts";
import { type StoredRecord, hex } from "./record.ts";
import type { Store } from "./store.ts";

/** What a journal holds. Times are milliseconds since 1970. */
export interface JournalInfo {
  /** Absolute path of the directory. */
  readonly journal: string;
  readonly id: string;
  /** Bytes on disk. */
  readonly size: number;
  /** Records of the chain, with those that were dropped. */
  readonly records: number;
  /** Transactions that were begun. */
  readonly transactions: number;
  /** Those that are neither settled nor aborted. */
  readonly pending: number;
  /** Observations outside any transaction. */
  readonly notes: number;
  /** How many topics there are of those that were asked for; undefined where nobody can say. */
  readonly topics: number | undefined;
  readonly oldest: number;
  readonly newest: number;
  /** Ended transactions whose intents are still there, and their length in bytes, not compressed. */
  readonly intents: { readonly transactions: number; readonly bytes: number };
  /** What compactions dropped. */
  readonly compacted: CompactedInfo;
  /** Digest of the last record, in hexadecimal digits. */
  readonly head: string;
}

export interface CompactedInfo {
  /** How many compactions there were. */
  readonly compactions: number;
  /** When the last one was. */
  readonly last?: number;
  readonly transactions: number;
  readonly records: number;
  /** Their length, not compressed. */
  readonly bytes: number;
}

export interface InfoSource {
  readonly dir: string;
  readonly id: string;
  readonly store: Store;
  readonly index: LogIndex;
  readonly tail: Pick<StoredRecord, "sequence" | "digest">;
  readonly pending: number;
  readonly isTopic: (topic: string) => boolean;
}

/** Costs the index, not the log. */
export async function journalInfo(source: InfoSource): Promise<JournalInfo> {
  const { dir, id, store, index, tail, pending, isTopic } = source;
  const last = tail.sequence;
  const { begun, notes, compactions } = await index.count(last);
  const held = await index.held(last);
  return {
    journal: dir,
    id,
    size: await store.size(),
    records: last,
    transactions: begun,
    pending,
    notes,
    topics: await index.countTopics(last, isTopic),
    oldest: (await read(dir, store, GENESIS)).time,
    newest: (await read(dir, store, last)).time,
    intents: { transactions: held.length, bytes: held.reduce((sum, { bytes }) => sum + bytes, 0) },
    compacted: await compactedInfo(dir, store, compactions),
    head: hex(tail.digest),
  };
}

async function compactedInfo(
  dir: string,
  store: Store,
  compactions: readonly number[],
): Promise<CompactedInfo> {
  const transactions = new Set<number>();
  let [records, bytes] = [0, 0];
  let time: number | undefined;
  for (const sequence of compactions) {
    const record = await read(dir, store, sequence);
    const body = decodeCompacted(record);
    time = record.time;
    bytes += body?.bytes ?? 0;
    for (const run of body?.runs ?? []) {
      transactions.add(run.transaction);
      records += run.last - run.sequence + 1;
    }
  }
  return {
    compactions: compactions.length,
    ...(time === undefined ? {} : { last: time }),
    transactions: transactions.size,
    records,
    bytes,
  };
}
