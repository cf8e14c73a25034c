/** The runs of intents as bytes for the journal: the first entry, what the states mean, and the state of each entry from there on. */
import { invariant } from "../errors/index.ts";
import { damagedIntent } from "./damaged.ts";
import type { DiscardIntent, EntryRun, RefcountRun } from "./intent.ts";
import { EntryStates, readStates } from "./states.ts";
import { NumberReader, NumberWriter } from "./varint.ts";

/** Entries between two runs. */
const UNCHANGED = 0;
const CHANGED = 1;

/** Collects runs that come in order, with what lies between them. */
class RunStates {
  readonly states = new EntryStates();
  #first: number | undefined;
  #end = 0;

  get first(): number {
    return this.#first ?? 0;
  }

  add(first: number, count: number, state: number): void {
    invariant(first >= this.#end && count > 0, "runs of an intent overlap or are out of order");
    if (this.#first === undefined) this.#first = first;
    else this.states.add(first - this.#end, UNCHANGED);
    this.states.add(count, state);
    this.#end = first + count;
  }
}

/** Reads them back; what changes is handed on with the number of its first entry. */
function readRuns(
  reader: NumberReader,
  first: number,
  alphabet: number,
  onRun: (first: number, count: number, state: number) => void,
): void {
  let at = first;
  let isEmpty = true;
  readStates(reader, alphabet, (count, state) => {
    if (!Number.isSafeInteger(at + count)) throw damagedIntent("a run ends nowhere");
    if (state !== UNCHANGED) {
      onRun(at, count, state);
      isEmpty = false;
    }
    at += count;
  });
  if (isEmpty) throw damagedIntent("runs are cut off");
}

/** Few pairs of values occur in a block: each is a state. */
export function packRefcounts(runs: readonly RefcountRun[]): Uint8Array {
  const byFrom = new Map<number, Map<number, number>>();
  const pairs: number[] = [];
  const found = new RunStates();
  for (const [first, count, from, to] of runs) {
    let byTo = byFrom.get(from);
    if (byTo === undefined) byFrom.set(from, (byTo = new Map()));
    let state = byTo.get(to);
    if (state === undefined) {
      pairs.push(from, to);
      byTo.set(to, (state = pairs.length / 2));
    }
    found.add(first, count, state);
  }
  const writer = new NumberWriter();
  writer.number(found.first);
  writer.number(pairs.length / 2);
  for (const value of pairs) writer.number(value);
  found.states.writeTo(writer, pairs.length / 2 + 1);
  return writer.finish();
}

/** @throws QcowalError JOURNAL_DAMAGED */
export function unpackRefcounts(bytes: Uint8Array): RefcountRun[] {
  const reader = new NumberReader(bytes);
  const first = reader.number();
  const pairs: (readonly [from: number, to: number])[] = [[0, 0]];
  for (let missing = reader.number(); missing > 0; missing -= 1)
    pairs.push([reader.number(), reader.number()]);
  const runs: RefcountRun[] = [];
  readRuns(reader, first, pairs.length, (at, count, state) => {
    const [from, to] = pairs[state] ?? [0, 0];
    runs.push([at, count, from, to]);
  });
  return runs;
}

export function packEntries(runs: readonly EntryRun[]): Uint8Array {
  const found = new RunStates();
  for (const [first, count] of runs) found.add(first, count, CHANGED);
  const writer = new NumberWriter();
  writer.number(found.first);
  found.states.writeTo(writer, 2);
  return writer.finish();
}

/** @throws QcowalError JOURNAL_DAMAGED */
export function unpackEntries(bytes: Uint8Array): EntryRun[] {
  const reader = new NumberReader(bytes);
  const runs: EntryRun[] = [];
  readRuns(reader, reader.number(), 2, (first, count) => runs.push([first, count]));
  return runs;
}

/** Runs of bytes are runs of their largest common unit, which is a cluster or more. */
export function packRanges(ranges: DiscardIntent["runs"]): Uint8Array {
  const unit = ranges.reduce((smallest, [offset, length]) => {
    let shared = smallest;
    while (offset % shared !== 0 || length % shared !== 0) shared /= 2;
    return shared;
  }, LARGEST_UNIT);
  const found = new RunStates();
  for (const [offset, length] of ranges) found.add(offset / unit, length / unit, CHANGED);
  const writer = new NumberWriter();
  writer.number(Math.log2(unit));
  writer.number(found.first);
  found.states.writeTo(writer, 2);
  return writer.finish();
}

/** That of the format's clusters. */
const LARGEST_UNIT = 2 ** 21;

/** @throws QcowalError JOURNAL_DAMAGED */
export function unpackRanges(bytes: Uint8Array): [offset: number, length: number][] {
  const reader = new NumberReader(bytes);
  const unit = 2 ** reader.number();
  if (unit > LARGEST_UNIT) throw damagedIntent("a unit that no image has");
  const ranges: [number, number][] = [];
  readRuns(reader, reader.number(), 2, (first, count) => {
    if (!Number.isSafeInteger((first + count) * unit)) throw damagedIntent("a run ends nowhere");
    ranges.push([first * unit, count * unit]);
  });
  return ranges;
}
