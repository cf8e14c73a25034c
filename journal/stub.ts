/**
 * What stands for parts that a compaction dropped: a run of one transaction, as
 * [format, first, last, transaction, sequence of the record of the compaction,
 * digest before the first, digest of the last] under the key of the first. The
 * chain goes on through it, and the record of the compaction, itself in the
 * chain, names it with its digest: nobody can drop records without saying so.
 */
import { Packr } from "msgpackr/pack";
import type { StoredRecord } from "./record.ts";

/** Where a record has its own: an earlier version of the program says that it does not know this one. */
export const STUB_FORMAT = 2;

/** Dropped parts of one transaction, `sequence` to `last`. */
export interface Stub {
  readonly sequence: number;
  readonly last: number;
  readonly transaction: number;
  /** Sequence of the record of kind `compacted` that names it. */
  readonly compaction: number;
  /** Digest of the record before the first. */
  readonly previous: Uint8Array;
  /** Digest of the last. */
  readonly digest: Uint8Array;
}

/** What a place in the chain holds. */
export type Link = StoredRecord | Stub;

export const isStub = (link: Link): link is Stub => "compaction" in link;

/** The last sequence that a link stands for. */
export const endOf = (link: Link): number => (isStub(link) ? link.last : link.sequence);

const packr = new Packr({ useRecords: false, int64AsType: "number", moreTypes: false });

export function encodeStub(stub: Stub): Uint8Array {
  const { sequence, last, transaction, compaction, previous, digest } = stub;
  return packr.pack([STUB_FORMAT, sequence, last, transaction, compaction, previous, digest]);
}

/** Undefined for anything that is not exactly what `encodeStub` makes. */
export function decodeStub(value: Uint8Array): Stub | undefined {
  // MessagePack: an array of seven, then the format as a small integer.
  if (value[0] !== 0x97 || value[1] !== STUB_FORMAT) return undefined;
  let fields: unknown[];
  try {
    fields = packr.unpack(value) as unknown[];
  } catch {
    return undefined;
  }
  const [, sequence, last, transaction, compaction, previous, digest] = fields;
  const numbers = [sequence, last, transaction, compaction];
  if (!numbers.every((field) => Number.isSafeInteger(field)) || !isDigest(previous) || !isDigest(digest)) {
    return undefined;
  }
  const stub = {
    sequence: sequence as number,
    last: last as number,
    transaction: transaction as number,
    compaction: compaction as number,
    previous: new Uint8Array(previous),
    digest: new Uint8Array(digest),
  };
  const isOrdered = stub.sequence <= stub.last && stub.last < stub.compaction;
  return isOrdered && Buffer.compare(encodeStub(stub), value) === 0 ? stub : undefined;
}

const isDigest = (value: unknown): value is Uint8Array => value instanceof Uint8Array && value.length === 32;
