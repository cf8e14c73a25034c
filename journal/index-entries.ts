/**
 * Keys and values of the index. All keys begin with a sign that sorts below the
 * hexadecimal digits of the log's own keys, so that the last key of the store
 * stays that of the last record; all but the version end in the sequence of the
 * record in whose batch they were written.
 *
 *   !r NUMBER SEQUENCE   a record of transaction NUMBER that is no part; a note has its own number
 *   !t TOPIC SEQUENCE    a begun record, or a note, that touches a topic
 *   !i NUMBER SEQUENCE   the end of transaction NUMBER, whose parts are still there
 *   !v                   the version; there when every record of the chain has its entries
 *
 * A value begins with the first bytes of the record's digest: an entry that says
 * something else than the record under its sequence is not believed.
 */
import { createHash } from "node:crypto";
import { keyOf } from "./chain.ts";
import { type JournalRecord, RECORD_KINDS, type RecordKind } from "./record.ts";
import type { Entry } from "./store.ts";

export const VERSION_KEY = "!v";
/** Raised with every change of the layout above: an index of another version is made anew. */
export const INDEX_VERSION = 1;
/** Behind every key of the index, before every key of the log. */
const END = "!~";
const PROOF_BYTES = 8;
/** Of SHA-256, in hexadecimal digits: enough that no two topics meet, and yet the value has the last word. */
const HASH_DIGITS = 32;
const SEQUENCE_DIGITS = keyOf(0).length;

export type IndexedRecord = Pick<JournalRecord, "sequence" | "kind" | "transaction" | "time" | "digest">;

/** Everything between these belongs to the index. */
export const INDEX_RANGE = ["!", END] as const;

export const isLogKey = (key: string): boolean => key > END;

export const sequenceIn = (key: string): number => Number.parseInt(key.slice(-SEQUENCE_DIGITS), 16);

export const recordKey = (number: number, sequence: number): string => `!r${keyOf(number)}${keyOf(sequence)}`;

const hashOf = (topic: string): string =>
  createHash("sha256").update(topic).digest("hex").slice(0, HASH_DIGITS);

export const topicKey = (topic: string, sequence: number): string => `!t${hashOf(topic)}${keyOf(sequence)}`;

export const versionEntry = (): Entry => [VERSION_KEY, Uint8Array.of(INDEX_VERSION)];

/** The number that a record is found under: that of its transaction, or its own outside any. */
const numberOf = ({ transaction, sequence }: IndexedRecord): number =>
  transaction === 0 ? sequence : transaction;

const proofOf = ({ digest }: IndexedRecord): Uint8Array => digest.subarray(0, PROOF_BYTES);

/** Whether records of this kind have entries: parts are found from the record before them, genesis is always the first. */
export const isIndexed = (kind: RecordKind): boolean => kind !== "part" && kind !== "genesis";

/** Whether records of this kind begin something that has a number of its own and may touch topics. */
export const hasTopics = (kind: RecordKind): boolean => kind === "begun" || kind === "note";

export const INTENTS_RANGE = ["!i", "!i~"] as const;

export const TOPICS_RANGE = ["!t", "!t~"] as const;

/** The least key behind all entries of the topic that `key` is of. */
export const behindTopic = (key: string): string => `${key.slice(0, -SEQUENCE_DIGITS)}~`;

export const RECORDS_RANGE = ["!r", "!r~"] as const;

/** An ended transaction whose parts are still there. */
export interface HeldIntents {
  readonly transaction: number;
  /** Sequence of the record that ended it. */
  readonly end: number;
  /** When it ended, in milliseconds since 1970. */
  readonly time: number;
  /** Encoded length of its parts. */
  readonly bytes: number;
}

const NUMBER_BYTES = 8;

export const intentsKey = ({ transaction, end }: Pick<HeldIntents, "transaction" | "end">): string =>
  `!i${keyOf(transaction)}${keyOf(end)}`;

function intentsEntry(record: IndexedRecord, bytes: number): Entry {
  const value = Buffer.alloc(PROOF_BYTES + 2 * NUMBER_BYTES);
  value.set(proofOf(record));
  value.writeDoubleBE(record.time, PROOF_BYTES);
  value.writeDoubleBE(bytes, PROOF_BYTES + NUMBER_BYTES);
  return [intentsKey({ transaction: record.transaction, end: record.sequence }), value];
}

export function decodeIntents([key, value]: Entry): HeldIntents {
  const view = Buffer.from(value.buffer, value.byteOffset, value.length);
  return {
    transaction: sequenceIn(key.slice(0, -SEQUENCE_DIGITS)),
    end: sequenceIn(key),
    time: view.readDoubleBE(PROOF_BYTES),
    bytes: view.readDoubleBE(PROOF_BYTES + NUMBER_BYTES),
  };
}

/** The kind of the record that an entry of the records' range leads to. */
export const kindIn = (value: Uint8Array): RecordKind | undefined => RECORD_KINDS[value[PROOF_BYTES] ?? -1];

/**
 * The entries of a record; `topics` in any order, one twice counts once.
 * `partBytes` is the length of the parts of a transaction that it ends.
 */
export function indexEntries(record: IndexedRecord, topics: readonly string[], partBytes: number): Entry[] {
  const { kind } = record;
  if (!isIndexed(kind)) return [];
  const ends = kind === "settled" || kind === "aborted";
  return [
    recordEntry(record),
    ...[...new Set(topics)].map((topic) => topicEntry(record, topic)),
    ...(ends && partBytes > 0 ? [intentsEntry(record, partBytes)] : []),
  ];
}

const recordEntry = (record: IndexedRecord): Entry => [
  recordKey(numberOf(record), record.sequence),
  Uint8Array.of(...proofOf(record), RECORD_KINDS.indexOf(record.kind)),
];

const topicEntry = (record: IndexedRecord, topic: string): Entry => [
  topicKey(topic, record.sequence),
  Buffer.concat([proofOf(record), Buffer.from(topic)]),
];

/** The entry by which a record is found under its number. */
export const ownEntry = (record: IndexedRecord): Entry | undefined =>
  isIndexed(record.kind) ? recordEntry(record) : undefined;
/** Whether an entry was written with this very record. */
export const isEntryOf = (value: Uint8Array, record: IndexedRecord): boolean =>
  Buffer.compare(value.subarray(0, PROOF_BYTES), proofOf(record)) === 0;

/** The topic that an entry is of. */
export const topicIn = (value: Uint8Array): string => Buffer.from(value.subarray(PROOF_BYTES)).toString();

/** Whether the entry of a topic is that topic's, and not that of another with the same hash. */
export const isTopic = (value: Uint8Array, topic: string): boolean =>
  Buffer.compare(value.subarray(PROOF_BYTES), Buffer.from(topic)) === 0;
