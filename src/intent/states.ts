/**
 * Entries in a row of which each is in one of a few states. Where an image is
 * fragmented, its refcounts and flags change in runs of a few entries: then a
 * bit or two for each entry are less than a byte or two for each run.
 */
import { invariant } from "../errors/index.ts";
import { damagedIntent } from "./damaged.ts";
import type { NumberReader, NumberWriter } from "./varint.ts";
import { sizeOfNumber } from "./varint.ts";

/** On disk, before the entries: how they are written. Other values are the bits of each entry. */
const AS_RUNS = 0;

/** Bits that tell so many states apart; 0 when runs are the only way. */
function bitsFor(alphabet: number): 0 | 1 | 2 | 4 {
  if (alphabet <= 2) return 1;
  if (alphabet <= 4) return 2;
  return alphabet <= 16 ? 4 : 0;
}

export class EntryStates {
  readonly #counts: number[] = [];
  readonly #states: number[] = [];
  #total = 0;

  /** The next `count` entries are in `state`; none for a count of 0. */
  add(count: number, state: number): void {
    if (count === 0) return;
    this.#total += count;
    const last = this.#counts.length - 1;
    if (this.#states[last] === state) this.#counts[last] = (this.#counts[last] ?? 0) + count;
    else {
      this.#counts.push(count);
      this.#states.push(state);
    }
  }

  /** As what takes fewer bytes: runs, or each entry. `alphabet` is the number of states. Nothing may be written behind it. */
  writeTo(writer: NumberWriter, alphabet: number): void {
    const numbers = this.#counts.map((count, index) => (count - 1) * alphabet + (this.#states[index] ?? 0));
    const bits = bitsFor(alphabet);
    const bytes = Math.ceil((this.#total * bits) / 8);
    let size = 0;
    for (const number of numbers) size += sizeOfNumber(number);
    if (bits === 0 || size <= bytes + sizeOfNumber(this.#total)) {
      writer.number(AS_RUNS);
      for (const number of numbers) writer.number(number);
      return;
    }
    writer.number(bits);
    writer.number(this.#total);
    this.#fill(writer.zeros(bytes), bits);
  }

  #fill(target: Uint8Array, bits: number): void {
    let at = 0;
    for (const [index, count] of this.#counts.entries()) {
      const state = this.#states[index] ?? 0;
      const end = at + count * bits;
      if (state === 0) at = end;
      for (; at < end; at += bits) target[at >>> 3] = (target[at >>> 3] ?? 0) | (state << (at & 7));
    }
    invariant(at === this.#total * bits, "states of entries do not add up");
  }
}

/**
 * Calls back for each run of entries in the same state, in order.
 * @throws QcowalError JOURNAL_DAMAGED
 */
export function readStates(
  reader: NumberReader,
  alphabet: number,
  onRun: (count: number, state: number) => void,
): void {
  const bits = reader.number();
  if (bits === AS_RUNS) {
    while (!reader.isAtEnd) {
      const number = reader.number();
      onRun(Math.floor(number / alphabet) + 1, number % alphabet);
    }
    return;
  }
  const total = reader.number();
  if (bits !== bitsFor(alphabet)) throw damagedIntent("entries of an unknown width");
  const entries = reader.bytes(Math.ceil((total * bits) / 8));
  if (!reader.isAtEnd) throw damagedIntent("more entries than it says");
  readEntries(entries, total, bits, alphabet, onRun);
}

function readEntries(
  entries: Uint8Array,
  total: number,
  bits: number,
  alphabet: number,
  onRun: (count: number, state: number) => void,
): void {
  const mask = 2 ** bits - 1;
  let first = 0;
  let last = -1;
  for (let entry = 0; entry < total; entry += 1) {
    const at = entry * bits;
    const state = ((entries[at >>> 3] ?? 0) >>> (at & 7)) & mask;
    if (state === last) continue;
    if (state >= alphabet) throw damagedIntent("an entry in an unknown state");
    if (entry > first) onRun(entry - first, last);
    first = entry;
    last = state;
  }
  if (total > first) onRun(total - first, last);
}
