/**
 * A record as stored: [format, payload, previous digest, digest], where the
 * payload is [sequence, kind, transaction, time, low, body] and the digest is
 * SHA-256 over format, length of the payload, previous digest and payload. A
 * gap, a torn tail, an edited or a swapped record breaks the chain and is seen.
 */
import { hash } from "node:crypto";
import { Packr } from "msgpackr/pack";

/** Raised with every change of the layout above. */
export const RECORD_FORMAT = 1;

/** In every journal ever written, by name in the log and by place in the index: never reuse, rename or move one. */
export const RECORD_KINDS = [
  "genesis",
  "begun",
  "part",
  "prepared",
  "committed",
  "settled",
  "aborted",
  "note",
  "compacted",
] as const;
export type RecordKind = (typeof RECORD_KINDS)[number];

export interface JournalRecord {
  readonly sequence: number;
  readonly kind: RecordKind;
  /** Sequence of the transaction's begun record; 0 for records outside any. */
  readonly transaction: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly body: unknown;
  readonly digest: Uint8Array;
}

/** What a record says about itself beside its contents. */
export interface StoredRecord extends JournalRecord {
  readonly previous: Uint8Array;
  /** Sequence of the oldest record that an unsettled transaction still needs; the own one plus 1 without any. */
  readonly low: number;
  /** The bytes that the digest covers, as they are stored. */
  readonly payload: Uint8Array;
  /** Length of the encoded record in bytes. */
  readonly size: number;
}

/** The digest "before" the first record. */
export const NO_DIGEST = new Uint8Array(32);

const packr = new Packr({ useRecords: false, int64AsType: "number", moreTypes: false });

function digestOf(payload: Uint8Array, previous: Uint8Array): Uint8Array {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(RECORD_FORMAT, 0);
  head.writeUInt32BE(payload.length, 4);
  // At once: most records are small, and a hash object takes longer than they do.
  return new Uint8Array(hash("sha256", Buffer.concat([head, previous, payload]), "buffer"));
}

export interface EncodedRecord {
  readonly value: Uint8Array;
  readonly digest: Uint8Array;
}

export function encodeRecord(record: Omit<StoredRecord, "digest" | "payload" | "size">): EncodedRecord {
  const { sequence, kind, transaction, time, low, body, previous } = record;
  const payload = packr.pack([sequence, kind, transaction, time, low, body]);
  const digest = digestOf(payload, previous);
  return { digest, value: frameOf({ payload, previous, digest }) };
}

/** The value as it is stored. */
export function frameOf({
  payload,
  previous,
  digest,
}: Pick<StoredRecord, "payload" | "previous" | "digest">): Uint8Array {
  return packr.pack([RECORD_FORMAT, payload, previous, digest]);
}

/** Two digests that should be the same, in hex, as far as they are known. */
export interface DigestPair {
  readonly expected?: string;
  readonly found?: string;
}

/** Why a stored value is not a record. */
export class RecordError extends Error {
  override readonly name = "RecordError";
  readonly digests: DigestPair;

  constructor(message: string, options: ErrorOptions & { readonly digests?: DigestPair } = {}) {
    super(message, options);
    this.digests = options.digests ?? {};
  }
}

/** Its digest is right, but it says what this program does not know: a newer one has written it. */
class UnknownRecordError extends RecordError {}

const isBytes = (value: unknown, length?: number): value is Uint8Array =>
  value instanceof Uint8Array && (length === undefined || value.length === length);

function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes);
  } catch (cause) {
    throw new RecordError("it is not MessagePack", { cause });
  }
}

/** @throws RecordError */
export function decodeRecord(value: Uint8Array): StoredRecord {
  const frame = unpack(value);
  if (!Array.isArray(frame)) throw new RecordError("it is not a record");
  const [format, payload, previous, digest] = frame as unknown[];
  if (typeof format === "number" && format > RECORD_FORMAT) {
    throw new RecordError(`its format ${format} is newer than this program knows`);
  }
  if (format !== RECORD_FORMAT || !isBytes(payload) || !isBytes(previous, 32) || !isBytes(digest, 32)) {
    throw new RecordError("it is not a record");
  }
  const found = digestOf(payload, previous);
  if (Buffer.compare(found, digest) !== 0) {
    throw new RecordError(`its digest is ${hex(found)}, expected ${hex(digest)}`, {
      digests: { expected: hex(digest), found: hex(found) },
    });
  }
  // The frame could carry bytes beside its four fields that no digest covers: only our own encoding is accepted.
  if (Buffer.compare(packr.pack([format, payload, previous, digest]), value) !== 0) {
    throw new RecordError("its frame was edited");
  }
  return {
    ...decodePayload(payload),
    previous: new Uint8Array(previous),
    digest: new Uint8Array(digest),
    size: value.length,
  };
}

/** Whether a value that does not decode is a whole record all the same. */
export function isOfNewerProgram(value: Uint8Array): boolean {
  try {
    decodeRecord(value);
    return false;
  } catch (error) {
    return error instanceof UnknownRecordError;
  }
}

function decodePayload(payload: Uint8Array): Omit<StoredRecord, "previous" | "digest" | "size"> {
  const fields = unpack(payload);
  if (!Array.isArray(fields)) throw new RecordError("its payload is not a list");
  const [sequence, kind, transaction, time, low, body] = fields as unknown[];
  const known = RECORD_KINDS.find((candidate) => candidate === kind);
  if (known === undefined)
    throw new UnknownRecordError(`its kind ${String(kind)} is not known to this program`);
  if (![sequence, transaction, time, low].every((field) => Number.isSafeInteger(field))) {
    throw new RecordError("one of its numbers is out of range");
  }
  return {
    sequence: sequence as number,
    kind: known,
    transaction: transaction as number,
    time: time as number,
    low: low as number,
    body,
    payload,
  };
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
