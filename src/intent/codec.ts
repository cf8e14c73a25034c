/**
 * Intents as plain arrays for the journal. The numbers in front are on disk in
 * every journal ever written: never reuse or renumber one.
 */
import { invariant } from "../errors/index.ts";
import type { BytePatch } from "../format/index.ts";
import { damagedIntent } from "./damaged.ts";
import type { EntryRun, Intent, RefcountRun, ZeroedEntry } from "./intent.ts";
import {
  packEntries,
  packRanges,
  packRefcounts,
  unpackEntries,
  unpackRanges,
  unpackRefcounts,
} from "./runs.ts";
import { packNumbers, unpackNumbers } from "./varint.ts";

const TAG = {
  fill: 0,
  /** Runs as lists of numbers: earlier journals have them, nothing writes them any more. */
  refcountRuns: 1,
  copiedRuns: 2,
  pointer: 3,
  header: 4,
  discardRuns: 5,
  zero: 6,
  /** The same as states of entries in a row. */
  refcount: 7,
  copied: 8,
  discard: 9,
} as const;

/** Longer contents are logged by digest only: they are durable in the image before the commit. */
const MAX_LOGGED_FILL_BYTES = 4096;

export type EncodedIntent = readonly unknown[];

export function encodeIntent(intent: Intent): EncodedIntent {
  switch (intent.kind) {
    case "fill": {
      const logged = intent.length <= MAX_LOGGED_FILL_BYTES ? (intent.bytes ?? null) : null;
      return [TAG.fill, intent.offset, intent.length, intent.digest, logged];
    }
    case "refcount":
      return [TAG.refcount, intent.block, intent.order, packRefcounts(intent.runs)];
    case "copied":
      return [
        TAG.copied,
        intent.table,
        intent.length,
        intent.entrySize,
        intent.set,
        packEntries(intent.runs),
        intent.checksum,
      ];
    case "pointer":
      return [TAG.pointer, intent.slot, intent.from, intent.to];
    case "header":
      return [TAG.header, intent.patches.map(({ offset, before, after }) => [offset, before, after])];
    case "zero":
      return [TAG.zero, intent.table, packNumbers(flattenEntries(intent.entries))];
    case "discard":
      return [TAG.discard, packRanges(intent.runs)];
  }
}

function* flattenEntries(entries: readonly ZeroedEntry[]): Generator<number> {
  let next = 0;
  for (const [entry, high, low] of entries) {
    invariant(entry >= next, "entries of an intent are out of order");
    yield entry - next;
    yield high;
    yield low;
    next = entry + 1;
  }
}

/** @throws QcowalError JOURNAL_DAMAGED when `value` is not an encoded intent */
export function decodeIntent(value: unknown): Intent {
  const fields = new Fields(value);
  const tag = fields.number();
  switch (tag) {
    case TAG.fill:
      return {
        kind: "fill",
        offset: fields.number(),
        length: fields.number(),
        digest: fields.bytes(),
        bytes: fields.optionalBytes(),
      };
    case TAG.refcount:
    case TAG.refcountRuns:
      return {
        kind: "refcount",
        block: fields.number(),
        order: fields.number(),
        runs:
          tag === TAG.refcount
            ? unpackRefcounts(fields.bytes())
            : (unflatten(fields.packed(), 4) as unknown as RefcountRun[]),
      };
    case TAG.copied:
    case TAG.copiedRuns:
      return {
        kind: "copied",
        table: fields.number(),
        length: fields.number(),
        entrySize: fields.entrySize(),
        set: fields.boolean(),
        runs:
          tag === TAG.copied
            ? unpackEntries(fields.bytes())
            : (unflatten(fields.packed(), 2) as unknown as EntryRun[]),
        checksum: fields.number(),
      };
    case TAG.pointer:
      return { kind: "pointer", slot: fields.number(), from: fields.number(), to: fields.number() };
    case TAG.header:
      return { kind: "header", patches: fields.array().map(decodePatch) };
    case TAG.zero:
      return { kind: "zero", table: fields.number(), entries: entriesOf(fields.packed()) };
    case TAG.discard:
      return { kind: "discard", runs: unpackRanges(fields.bytes()) };
    case TAG.discardRuns:
      return { kind: "discard", runs: pairs(fields.packed()) };
    default:
      throw damagedIntent(`kind ${tag} is not known to this version`);
  }
}

function decodePatch(value: unknown): BytePatch {
  const fields = new Fields(value);
  const patch = { offset: fields.number(), before: fields.bytes(), after: fields.bytes() };
  if (patch.before.length !== patch.after.length) throw damagedIntent("a header patch changes its length");
  return patch;
}

/** Groups of `width` numbers with the first one counted from the end of the group before. */
function unflatten(values: readonly number[], width: 2 | 4): number[][] {
  if (values.length === 0 || values.length % width !== 0) throw damagedIntent("runs are cut off");
  const runs: number[][] = [];
  let end = 0;
  for (let at = 0; at < values.length; at += width) {
    const [gap = 0, count = 0, ...rest] = values.slice(at, at + width);
    runs.push([end + gap, count, ...rest]);
    end += gap + count;
  }
  return runs;
}

function entriesOf(values: readonly number[]): ZeroedEntry[] {
  if (values.length === 0 || values.length % 3 !== 0) throw damagedIntent("entries are cut off");
  const entries: ZeroedEntry[] = [];
  let next = 0;
  for (let at = 0; at < values.length; at += 3) {
    const [gap = 0, high = 0, low = 0] = values.slice(at, at + 3);
    entries.push([next + gap, high, low]);
    next += gap + 1;
  }
  return entries;
}

function pairs(values: readonly number[]): [number, number][] {
  if (values.length % 2 !== 0) throw damagedIntent("runs are cut off");
  const result: [number, number][] = [];
  for (let at = 0; at < values.length; at += 2) result.push([values[at] ?? 0, values[at + 1] ?? 0]);
  return result;
}

/** Reads the fields of an encoded intent in order and refuses what has another type. */
class Fields {
  readonly #values: readonly unknown[];
  #next = 0;

  constructor(value: unknown) {
    if (!Array.isArray(value)) throw damagedIntent("an intent is not an array");
    this.#values = value;
  }

  number(): number {
    const value = this.#take();
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
      throw damagedIntent("a number was expected");
    }
    return value;
  }

  boolean(): boolean {
    const value = this.#take();
    if (typeof value !== "boolean") throw damagedIntent("a flag was expected");
    return value;
  }

  entrySize(): 8 | 16 {
    const value = this.number();
    if (value !== 8 && value !== 16) throw damagedIntent("an entry size of 8 or 16 was expected");
    return value;
  }

  bytes(): Uint8Array {
    const value = this.#take();
    if (!(value instanceof Uint8Array)) throw damagedIntent("bytes were expected");
    return value;
  }

  optionalBytes(): Uint8Array | undefined {
    return this.#values[this.#next] === null ? undefined : this.bytes();
  }

  packed(): number[] {
    return unpackNumbers(this.bytes());
  }

  array(): readonly unknown[] {
    const value = this.#take();
    if (!Array.isArray(value)) throw damagedIntent("a list was expected");
    return value;
  }

  #take(): unknown {
    const value = this.#values[this.#next];
    this.#next += 1;
    return value;
  }
}
