import { type Geometry, clearEntry, flipCopied, setDataEntry, setZeroEntry } from "../format/index.ts";

/** What becomes of an entry; otherwise the offset of its new cluster. */
export const KEPT = -2;
export const ZEROS = -1;
export const NOTHING = 0;

/** An L2 table of the active layer that is written anew. */
export interface ReceivedTable {
  /** Its entry of the L1 table. */
  readonly place: number;
  /** The table that was there; 0 for none. */
  readonly old: number;
  /** Where it will be; 0 where nothing is left of it. */
  readonly offset: number;
  /** Entries that change: [first, count, target] each; clusters of data lie in a row. */
  readonly runs: readonly EntryRun[];
  /** Entries that are kept, and whose COPIED flag has to be the other one. */
  readonly flips: (readonly [first: number, count: number])[];
}
export type EntryRun = readonly [first: number, count: number, target: number];

/** The entries that change as runs. */
export function runsOf(targets: Float64Array, clusterSize: number): EntryRun[] {
  const runs: EntryRun[] = [];
  for (let first = 0; first < targets.length;) {
    const target = targets[first] ?? KEPT;
    const step = target > 0 ? clusterSize : 0;
    let end = first + 1;
    while (end < targets.length && targets[end] === target + (end - first) * step) end += 1;
    if (target !== KEPT) runs.push([first, end - first, target]);
    first = end;
  }
  return runs;
}

/** Leaves of the old table what is kept of it: that is counted. */
export function keepOnly(geometry: Geometry, { runs }: ReceivedTable, words: Uint32Array): Uint32Array {
  for (const [first, count] of runs) {
    for (let entry = first; entry < first + count; entry += 1) clearEntry(geometry, words, entry);
  }
  return words;
}

/** Makes the new table of the old one. `copied`: nothing else refers to what is new. */
export function renew(
  geometry: Geometry,
  { runs, flips }: ReceivedTable,
  words: Uint32Array,
  copied: boolean,
): Uint32Array {
  for (const [first, count] of flips) {
    for (let entry = first; entry < first + count; entry += 1) flipCopied(geometry, words, entry);
  }
  for (const [first, count, target] of runs) {
    for (let index = 0; index < count; index += 1) {
      const entry = first + index;
      if (target === NOTHING) clearEntry(geometry, words, entry);
      else if (target === ZEROS) setZeroEntry(geometry, words, entry);
      else setDataEntry(geometry, words, entry, target + index * geometry.clusterSize, copied);
    }
  }
  return words;
}
