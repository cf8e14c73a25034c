import type { JournalRecord, RecordKind } from "./record.ts";

/** A record as it is stored: whoever asks gets it decoded anew, so that nobody changes what others get. */
export interface StoredValue {
  readonly sequence: number;
  readonly kind: RecordKind;
  readonly value: Uint8Array;
}

interface Kept {
  readonly records: StoredValue[];
  bytes: number;
}

/** An operation has 2 KiB in its records without its parts. */
const MAX_BYTES = 2 * 1024 * 1024;
const MAX_TOPICS = 4096;
/** No topic of any record leads anywhere. */
const NONE = 0;

/**
 * What was written or read of an open journal lately: the records of whole
 * transactions without their parts, and the newest number under each topic.
 * Nobody else writes to an open journal, a record never changes, and what a
 * compaction drops is not in here, so none of it is ever out of date.
 */
export class RecentRecords {
  readonly #transactions = new Map<number, Kept>();
  #bytes = 0;
  readonly #newest = new Map<string, number>();
  #last: number;

  /** `last` is the sequence of the last record that is no part. */
  constructor(last: number) {
    this.#last = last;
  }

  /** Sequence of the last record that is no part. */
  get last(): number {
    return this.#last;
  }

  /** A record, no part, that has just been appended. */
  appended(
    { sequence, kind, transaction }: Pick<JournalRecord, "sequence" | "kind" | "transaction">,
    value: Uint8Array,
    topics: readonly string[],
  ): void {
    this.#last = sequence;
    for (const topic of topics) this.#setNewest(topic, sequence);
    const number = transaction === 0 ? sequence : transaction;
    // Of a transaction that began before it was kept, only its end is known here.
    if (number === sequence) this.#transactions.set(number, { records: [], bytes: 0 });
    const kept = this.#transactions.get(number);
    if (kept === undefined) return;
    // A copy: the encoder hands out pieces of what it holds other records in.
    kept.records.push({ sequence, kind, value: new Uint8Array(value) });
    kept.bytes += value.length;
    this.#bytes += value.length;
    this.#shrink();
  }

  /** All records of a transaction that is over, or the one note, as they were read. */
  keep(number: number, records: readonly StoredValue[]): void {
    if (this.#transactions.has(number)) return;
    const bytes = records.reduce((sum, { value }) => sum + value.length, 0);
    this.#transactions.set(number, { records: [...records], bytes });
    this.#bytes += bytes;
    this.#shrink();
  }

  /** All records of a transaction without its parts, or the one note; undefined when they are not in here. */
  recordsOf(number: number): readonly StoredValue[] | undefined {
    const kept = this.#transactions.get(number);
    if (kept === undefined) return undefined;
    // What is asked for is the last to go.
    this.#transactions.delete(number);
    this.#transactions.set(number, kept);
    return kept.records;
  }

  /** The newest number under a topic: 0 when there is none, undefined when that is not in here. */
  newestOf(topic: string): number | undefined {
    const newest = this.#newest.get(topic);
    if (newest !== undefined) this.#setNewest(topic, newest);
    return newest;
  }

  /** What was found under a topic when `last` was the last record; undefined when nothing was. */
  found(topic: string, newest: number | undefined, last: number): void {
    if (last === this.#last) this.#setNewest(topic, newest ?? NONE);
  }

  #setNewest(topic: string, newest: number): void {
    this.#newest.delete(topic);
    this.#newest.set(topic, newest);
    const [oldest] = this.#newest.keys();
    if (this.#newest.size > MAX_TOPICS && oldest !== undefined) this.#newest.delete(oldest);
  }

  #shrink(): void {
    for (const [number, { bytes }] of this.#transactions) {
      if (this.#bytes <= MAX_BYTES) return;
      this.#transactions.delete(number);
      this.#bytes -= bytes;
    }
  }
}
