import { entryOffset, isCompressed, isZeroFlagged } from "./entries.ts";
import type { Geometry } from "./geometry.ts";

/** Entries of an L2 table in host order, as a guest's write would make them: see `entries.ts`. */

const COPIED_HIGH = 0x8000_0000;
const ZERO_LOW = 1;
const WORD = 2 ** 32;
const ALL_SUBCLUSTERS = 0xffff_ffff;

const wordOf = ({ l2EntrySize }: Geometry, entry: number): number => (entry * l2EntrySize) / 4;

/** All of the cluster at `host` is data. `copied`: nothing else refers to it. */
export function setDataEntry(
  geometry: Geometry,
  words: Uint32Array,
  entry: number,
  host: number,
  copied: boolean,
): void {
  const at = wordOf(geometry, entry);
  words[at] = Math.floor(host / WORD) + (copied ? COPIED_HIGH : 0);
  words[at + 1] = host % WORD;
  if (!geometry.extendedL2) return;
  words[at + 2] = 0;
  words[at + 3] = ALL_SUBCLUSTERS;
}

/** Reads as zeros, whatever a backing file has there. Version 2 cannot say that. */
export function setZeroEntry(geometry: Geometry, words: Uint32Array, entry: number): void {
  const at = wordOf(geometry, entry);
  words[at] = 0;
  words[at + 1] = geometry.extendedL2 ? 0 : ZERO_LOW;
  if (!geometry.extendedL2) return;
  words[at + 2] = ALL_SUBCLUSTERS;
  words[at + 3] = 0;
}

/** Nothing is there: what a backing file has shows through. */
export function clearEntry(geometry: Geometry, words: Uint32Array, entry: number): void {
  const at = wordOf(geometry, entry);
  words.fill(0, at, at + geometry.l2EntrySize / 4);
}

export function isEmptyEntry(geometry: Geometry, words: Uint32Array, entry: number): boolean {
  const at = wordOf(geometry, entry);
  const end = at + geometry.l2EntrySize / 4;
  for (let word = at; word < end; word += 1) if (words[word] !== 0) return false;
  return true;
}

/** Gives an entry the other COPIED flag. */
export function flipCopied(geometry: Geometry, words: Uint32Array, entry: number): void {
  const at = wordOf(geometry, entry);
  words[at] = ((words[at] ?? 0) ^ COPIED_HIGH) >>> 0;
}

/** Whether a guest reads zeros there, as far as the entry tells. */
export function readsAsZeros(
  geometry: Geometry,
  words: Uint32Array,
  entry: number,
  hasBacking: boolean,
): boolean {
  const at = wordOf(geometry, entry);
  const [high = 0, low = 0, zeros = 0, allocated = 0] = words.subarray(at, at + 4);
  if (isCompressed(high)) return false;
  if (geometry.extendedL2) return hasBacking ? zeros === ALL_SUBCLUSTERS : allocated === 0;
  if (isZeroFlagged(geometry, low)) return true;
  return !hasBacking && entryOffset(high, low) === 0;
}
