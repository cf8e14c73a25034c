/**
 * A record as a line of JSON: what it says for people and programs, and its
 * payload, from which the stored value comes back byte by byte. The payload
 * counts; a line that reads differently was edited.
 */
import { isDeepStrictEqual } from "node:util";
import { RECORD_FORMAT, RecordError, type StoredRecord, decodeRecord, frameOf, hex } from "./record.ts";

import { type Link, STUB_FORMAT, type Stub, decodeStub, encodeStub, isStub } from "./stub.ts";

/** What a Date can hold. */
const LAST_TIME = 8.64e15;

const timeOf = (time: number): unknown => (Math.abs(time) <= LAST_TIME ? new Date(time).toISOString() : time);

/** A body in JSON. An object's own keys with a dollar sign in front get another one. */
function readable(value: unknown): unknown {
  if (value instanceof Uint8Array) return { $base64: Buffer.from(value).toString("base64") };
  if (typeof value === "bigint") return { $bigint: String(value) };
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key.startsWith("$") ? `$${key}` : key, readable(item)]),
  );
}

function fieldsOf(record: StoredRecord): Readonly<Record<string, unknown>> {
  const { sequence, kind, transaction, time, low, body, previous, digest, payload } = record;
  return {
    format: RECORD_FORMAT,
    sequence,
    kind,
    transaction,
    time: timeOf(time),
    low,
    body: readable(body),
    previous: hex(previous),
    digest: hex(digest),
    payload: Buffer.from(payload).toString("base64"),
  };
}

/** Without the end of the line. */
export const encodeLine = (link: Link): string =>
  JSON.stringify(isStub(link) ? fieldsOfStub(link) : fieldsOf(link));

/** What a compaction dropped: no payload, only what keeps the chain together. */
function fieldsOfStub(stub: Stub): Readonly<Record<string, unknown>> {
  const { sequence, last, transaction, compaction, previous, digest } = stub;
  return {
    format: STUB_FORMAT,
    sequence,
    last,
    transaction,
    compaction,
    previous: hex(previous),
    digest: hex(digest),
  };
}

export interface DecodedLine {
  readonly link: Link;
  /** As it was stored. */
  readonly value: Uint8Array;
}

/** @throws RecordError for whatever `encodeLine` did not write */
export function decodeLine(line: string): DecodedLine {
  try {
    return decode(line);
  } catch (error) {
    // Of a recursion; nothing else in here throws it.
    if (error instanceof RangeError) throw new RecordError("it is nested too deeply", { cause: error });
    throw error;
  }
}

function decode(line: string): DecodedLine {
  const fields = parse(line);
  const { format } = fields;
  if (format === STUB_FORMAT) return decodeStubLine(fields);
  if (typeof format === "number" && format > RECORD_FORMAT) {
    throw new RecordError(`its format ${format} is newer than this program knows`);
  }
  if (format !== RECORD_FORMAT) throw new RecordError("it is not a record");
  const value = frameOf({
    payload: bytes(fields, "payload", "base64"),
    previous: bytes(fields, "previous", "hex"),
    digest: bytes(fields, "digest", "hex"),
  });
  const record = decodeRecord(value);
  const expected = fieldsOf(record);
  if (JSON.stringify(expected) !== line) assertSame(fields, expected);
  return { link: record, value };
}

function decodeStubLine(fields: Readonly<Record<string, unknown>>): DecodedLine {
  const value = encodeStub({
    sequence: fields["sequence"] as number,
    last: fields["last"] as number,
    transaction: fields["transaction"] as number,
    compaction: fields["compaction"] as number,
    previous: bytes(fields, "previous", "hex"),
    digest: bytes(fields, "digest", "hex"),
  });
  const link = decodeStub(value);
  if (link === undefined) throw new RecordError("it does not stand for dropped records");
  assertSame(fields, fieldsOfStub(link));
  return { link, value };
}

function parse(line: string): Readonly<Record<string, unknown>> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch (cause) {
    throw new RecordError("it is not JSON", { cause });
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new RecordError("it is not a record");
  }
  return parsed as Record<string, unknown>;
}

function bytes(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  encoding: "base64" | "hex",
): Uint8Array {
  const text = fields[name];
  if (typeof text !== "string") throw new RecordError(`it has no ${name}`);
  const found = Buffer.from(text, encoding);
  // What is no digit is skipped or ends it without a word.
  if (found.toString(encoding) !== text) throw new RecordError(`its ${name} is not ${encoding}`);
  return found;
}

/** Others may write the same fields in another order. */
function assertSame(
  fields: Readonly<Record<string, unknown>>,
  expected: Readonly<Record<string, unknown>>,
): void {
  const written = JSON.parse(JSON.stringify(expected)) as Record<string, unknown>;
  for (const name of new Set([...Object.keys(written), ...Object.keys(fields)])) {
    if (isDeepStrictEqual(fields[name], written[name])) continue;
    throw new RecordError(
      name in written
        ? `its ${JSON.stringify(name)} is not what its payload says`
        : `it has a field ${JSON.stringify(name)} that no record has`,
    );
  }
}
