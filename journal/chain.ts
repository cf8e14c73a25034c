import { QcowalError } from "../src/errors/index.ts";
import { type DigestPair, RecordError, type StoredRecord, decodeRecord, hex } from "./record.ts";
import type { Store } from "./store.ts";
import { type Link, decodeStub, endOf, isStub } from "./stub.ts";

/** Sequence of the first record. */
export const GENESIS = 1;

/** Fixed width, so that the order of keys is the order of the log. */
export const keyOf = (sequence: number): string => sequence.toString(16).padStart(16, "0");

export function damaged(dir: string, sequence: number, what: string, digests: DigestPair = {}): QcowalError {
  return new QcowalError(
    "JOURNAL_DAMAGED",
    `${dir}: record ${sequence} ${what}. Nothing was changed and nothing is replayed from this journal; restore it from a backup, or run 'qcowal repair --without-journal IMAGE' on the images that are fenced.`,
    { details: { journal: dir, sequence, problem: what, ...digests } },
  );
}

export async function read(dir: string, store: Store, sequence: number): Promise<StoredRecord> {
  const value = await store.get(keyOf(sequence));
  if (value === undefined) throw damaged(dir, sequence, "is missing");
  return verified(dir, sequence, value);
}

export function verified(dir: string, sequence: number, value: Uint8Array): StoredRecord {
  try {
    const record = decodeRecord(value);
    if (record.sequence !== sequence) throw new RecordError(`it is record ${record.sequence}, moved here`);
    return record;
  } catch (error) {
    if (!(error instanceof RecordError)) throw error;
    throw damaged(dir, sequence, `does not verify: ${error.message}`, error.digests);
  }
}

/**
 * What stands for a place of the chain: its record, or the stub of dropped parts
 * that it is one of.
 */
export async function linkAt(dir: string, store: Store, sequence: number): Promise<Link> {
  for await (const [key, value] of store.entries(keyOf(GENESIS), keyOf(sequence), true)) {
    if (key === keyOf(sequence)) return linkOf(dir, sequence, value);
    const stub = decodeStub(value);
    if (stub !== undefined && key === keyOf(stub.sequence) && stub.last >= sequence) return stub;
    break;
  }
  throw damaged(dir, sequence, "is missing");
}

function linkOf(dir: string, sequence: number, value: Uint8Array): Link {
  const stub = decodeStub(value);
  return stub?.sequence === sequence ? stub : verified(dir, sequence, value);
}

/** A record that is not there: the one behind it says what its digest was. */
function missing(dir: string, sequence: number, key: string, value: Uint8Array): QcowalError {
  if (key !== keyOf(sequence + 1)) return damaged(dir, sequence, "is missing");
  const expected = hex(linkOf(dir, sequence + 1, value).previous);
  return damaged(dir, sequence, `is missing; its digest was ${expected}`, { expected });
}

/** Records `from` to `to`, each verified, without what was dropped; `previous` is the digest before the first. */
export async function* walk(
  dir: string,
  store: Store,
  from: number,
  to: number,
  previous: Uint8Array,
): AsyncGenerator<StoredRecord> {
  for await (const link of walkLinks(dir, store, from, to, previous)) if (!isStub(link)) yield link;
}

/** The same with the stubs of what was dropped; `from` is the first of one, or a record. */
export async function* walkLinks(
  dir: string,
  store: Store,
  from: number,
  to: number,
  previous: Uint8Array,
): AsyncGenerator<Link> {
  let expected = from;
  let digest = previous;
  for await (const [key, value] of store.entries(keyOf(from), keyOf(to))) {
    if (key !== keyOf(expected)) throw missing(dir, expected, key, value);
    const record = linkOf(dir, expected, value);
    if (Buffer.compare(record.previous, digest) !== 0) {
      throw damaged(
        dir,
        expected,
        `follows ${hex(record.previous)}, expected ${hex(digest)}: the chain is broken`,
        { expected: hex(digest), found: hex(record.previous) },
      );
    }
    yield record;
    digest = record.digest;
    expected = endOf(record) + 1;
  }
  if (expected <= to) throw damaged(dir, expected, "is missing");
}
