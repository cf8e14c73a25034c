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
  const { payload, previous, digest } = fieldsOf(value) ?? refuse(value);
  verifyDigest(payload, previous, digest);
  return {
    ...decodePayload(payload),
    previous: new Uint8Array(previous),
    digest: new Uint8Array(digest),
    size: value.length,
  };
}

type Frame = Pick<StoredRecord, "payload" | "previous" | "digest">;

/** MessagePack: an array of four; bytes with a length of one, two or four bytes. */
const ARRAY_OF_FOUR = 0x94;
const BYTES_8 = 0xc4;
const BYTES_16 = 0xc5;
const BYTES_32 = 0xc6;
const DIGEST_BYTES = 32;
/** As it is encoded. */
const DIGEST_FIELD = 2 + DIGEST_BYTES;

/**
 * The fields of exactly what `frameOf` makes, undefined for anything else. The
 * frame could carry bytes beside its four fields that no digest covers, or a
 * length could be written longer than it need be: only our own encoding is
 * accepted. Every record of a journal passes here, so it is read without
 * encoding it again to compare.
 */
function fieldsOf(value: Uint8Array): Frame | undefined {
  if (value[0] !== ARRAY_OF_FOUR || value[1] !== RECORD_FORMAT) return undefined;
  const head = headOfBytes(value);
  if (head === undefined) return undefined;
  const previousAt = head.end + head.length;
  const digestAt = previousAt + DIGEST_FIELD;
  if (value.length !== digestAt + DIGEST_FIELD) return undefined;
  for (const at of [previousAt, digestAt]) {
    if (value[at] !== BYTES_8 || value[at + 1] !== DIGEST_BYTES) return undefined;
  }
  return {
    payload: value.subarray(head.end, previousAt),
    previous: value.subarray(previousAt + 2, digestAt),
    digest: value.subarray(digestAt + 2),
  };
}

/** Length of the payload and where it begins, if the length takes no more bytes than it needs. */
function headOfBytes(value: Uint8Array): { readonly length: number; readonly end: number } | undefined {
  if (value[2] === BYTES_8) return { length: bigEndian(value, 3, 4), end: 4 };
  if (value[2] === BYTES_16) {
    const length = bigEndian(value, 3, 5);
    return length < 0x100 ? undefined : { length, end: 5 };
  }
  const length = bigEndian(value, 3, 7);
  return value[2] !== BYTES_32 || length < 0x10000 ? undefined : { length, end: 7 };
}

function bigEndian(value: Uint8Array, from: number, end: number): number {
  let number = 0;
  for (let at = from; at < end; at += 1) number = number * 0x100 + (value[at] ?? 0);
  return number;
}

function verifyDigest(payload: Uint8Array, previous: Uint8Array, digest: Uint8Array): void {
  const found = digestOf(payload, previous);
  if (Buffer.compare(found, digest) === 0) return;
  throw new RecordError(`its digest is ${hex(found)}, expected ${hex(digest)}`, {
    digests: { expected: hex(digest), found: hex(found) },
  });
}

/** Says why a value is not our own encoding of a record. */
function refuse(value: Uint8Array): never {
  const frame = unpack(value);
  if (!Array.isArray(frame)) throw new RecordError("it is not a record");
  const [format, payload, previous, digest] = frame as unknown[];
  if (typeof format === "number" && format > RECORD_FORMAT) {
    throw new RecordError(`its format ${format} is newer than this program knows`);
  }
  if (
    format !== RECORD_FORMAT ||
    !isBytes(payload) ||
    !isBytes(previous, DIGEST_BYTES) ||
    !isBytes(digest, DIGEST_BYTES)
  ) {
    throw new RecordError("it is not a record");
  }
  verifyDigest(payload, previous, digest);
  throw new RecordError("its frame was edited");
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
