import { type Geometry, isCopied, writeL1Entry } from "../format/index.ts";
import type { L1Table, L2Table } from "../image/index.ts";
import { type CopiedIntent, type EntryRun, copiedChecksum } from "../intent/index.ts";
import type { OnWrongFlags } from "./compare-run.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

export interface CopiedIntents {
  /** Flags that clear: before the switch, or a guest could write to a shared cluster in place. */
  readonly clear: CopiedIntent[];
  /** Flags that set: behind it, when the other reference is gone. */
  readonly set: CopiedIntent[];
}

/** Takes what is found, table by table. */
export interface CopiedSink {
  readonly clear: { push(intent: CopiedIntent): unknown };
  readonly set: { push(intent: CopiedIntent): unknown };
}

/** Flags that change. */
export const countFlags = ({ clear, set }: CopiedIntents): number =>
  [...clear, ...set].reduce((sum, intent) => sum + flagsOf(intent), 0);

/** Flags that one intent changes. */
export const flagsOf = ({ runs }: CopiedIntent): number => runs.reduce((sum, [, count]) => sum + count, 0);

class Runs {
  readonly set: EntryRun[] = [];
  readonly clear: EntryRun[] = [];
  #first = 0;
  #end = 0;
  #flag = false;

  /** Entries come in order. */
  add(first: number, count: number, flag: boolean): void {
    if (first !== this.#end || flag !== this.#flag || this.#end === this.#first) {
      this.#close();
      this.#first = first;
      this.#flag = flag;
    }
    this.#end = first + count;
  }

  #close(): void {
    if (this.#end > this.#first) {
      (this.#flag ? this.set : this.clear).push([this.#first, this.#end - this.#first]);
    }
    this.#first = this.#end;
  }

  /** `table` holds the stored bytes. */
  into(result: CopiedSink, offset: number, table: () => Uint8Array, entrySize: 8 | 16): void {
    this.#close();
    if (this.set.length === 0 && this.clear.length === 0) return;
    const bytes = table();
    const checksum = copiedChecksum(bytes, entrySize);
    const common = { kind: "copied", table: offset, length: bytes.length, entrySize, checksum } as const;
    if (this.clear.length > 0) result.clear.push({ ...common, set: false, runs: this.clear });
    if (this.set.length > 0) result.set.push({ ...common, set: true, runs: this.set });
  }
}

/** Tells the entries from `first` to before `end` whose flag is wrong, in order. */
type CompareFlags = (first: number, end: number, onWrong: OnWrongFlags) => void;

/**
 * What makes the flags of an L2 table right, as far as `compare` tells. The entries `without`, ascending,
 * change in other ways: no checksum covers them.
 */
export function flagsInL2(
  { l2Entries, l2EntrySize }: Geometry,
  table: L2Table,
  compare: CompareFlags,
  result: CopiedSink,
  without: readonly number[] = [],
): void {
  const part = (first: number, end: number) => (): Uint8Array =>
    table.stored.subarray(first * l2EntrySize, end * l2EntrySize);
  const parts: (readonly [first: number, end: number, runs: Runs])[] = [];
  let first = 0;
  for (const end of [...without, l2Entries]) {
    const runs = new Runs();
    const base = first;
    compare(base, end, (from, count, flag) => runs.add(from - base, count, flag));
    parts.push([base, end, runs]);
    first = end + 1;
  }
  // Only now: the parts that follow are compared as words.
  for (const [from, end, runs] of parts) {
    runs.into(result, table.offset + from * l2EntrySize, part(from, end), l2EntrySize);
  }
}

/**
 * Compares the flags of an L2 table, reachable from the active layer afterwards,
 * with what they have to be; see `flagsInL2`. Returns how many of its clusters
 * had other references before, and have none afterwards.
 * @throws QcowalError IMAGE_INVALID when a cluster of the active layer would not be counted
 */
export function copiedInL2(
  changes: RefcountChanges,
  table: L2Table,
  result: CopiedSink,
  without?: readonly number[],
): number {
  let newlyExclusive = 0;
  const compare: CompareFlags = (first, end, onWrong) => {
    newlyExclusive += changes.compareFlags(table.offset, table, first, end, onWrong);
  };
  flagsInL2(changes.stored.geometry, table, compare, result, without);
  return newlyExclusive;
}

/** Clears the flags of an L2 table to whose clusters another path leads: none of them has a refcount of 1. `isAll`: every entry has one. */
export function clearedInL2(geometry: Geometry, table: L2Table, isAll: boolean, result: CopiedSink): void {
  const step = geometry.l2EntrySize / 4;
  const compare: CompareFlags = (from, end, onWrong) => {
    if (isAll) {
      onWrong(from, end - from, false);
      return;
    }
    const { words } = table;
    for (let entry = from; entry < end; entry += 1) {
      const first = entry;
      while (entry < end && isCopied(words[entry * step] ?? 0)) entry += 1;
      if (entry > first) onWrong(first, entry - first, false);
    }
  };
  flagsInL2(geometry, table, compare, result);
}

/** COPIED flags that the entries of the active L1 table have to have, as far as the window reaches: of each entry once. */
export function decideL1Flags(changes: RefcountChanges, l1: L1Table, flags: Uint8Array): void {
  const { clusterSize } = changes.stored.geometry;
  for (const [entry, target] of l1.targets.entries()) {
    if (target === 0 || !changes.covers(target / clusterSize)) continue;
    flags[entry] = changes.after(target / clusterSize) === 1 ? 1 : 0;
  }
}

/** Makes the flags of an active L1 table that stays where it is what they have to be, a cluster at a time. */
export function copiedInL1(
  { l1EntriesPerCluster: perCluster }: Geometry,
  l1: L1Table,
  flags: Uint8Array,
  result: CopiedSink,
): void {
  for (let base = 0; base < l1.entries; base += perCluster) {
    const count = Math.min(perCluster, l1.entries - base);
    const runs = new Runs();
    for (let entry = 0; entry < count; entry += 1) {
      const flag = flags[base + entry] === 1;
      if (flag !== (l1.copied[base + entry] === 1)) runs.add(entry, 1, flag);
    }
    runs.into(result, l1.offset + base * 8, () => l1Bytes(l1, base, count), 8);
  }
}

/** Clears flags in the L1 table of a snapshot, where they mean nothing: of entries that point to a wanted target. */
export function clearedInL1(
  l1: L1Table,
  perCluster: number,
  isWanted: (target: number) => boolean,
  result: CopiedSink,
): void {
  for (let base = 0; base < l1.entries; base += perCluster) {
    const count = Math.min(perCluster, l1.entries - base);
    const runs = new Runs();
    for (let entry = 0; entry < count; entry += 1) {
      const isSet = l1.copied[base + entry] === 1;
      if (isSet && isWanted(l1.targets[base + entry] ?? 0)) runs.add(entry, 1, false);
    }
    runs.into(result, l1.offset + base * 8, () => l1Bytes(l1, base, count), 8);
  }
}

/** The stored bytes of L1 entries, without COPIED flags unless `flags` has them. Reading refused reserved bits, so nothing else is in them. */
export function l1Bytes(
  l1: Pick<L1Table, "targets">,
  base: number,
  count: number,
  flags?: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(count * 8);
  const view = new DataView(bytes.buffer);
  for (let entry = 0; entry < count; entry += 1) {
    const target = l1.targets[base + entry] ?? 0;
    writeL1Entry(view, entry, target, flags?.[base + entry] === 1);
  }
  return bytes;
}
