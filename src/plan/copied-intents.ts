import { type L2Reference, decodeL2Entry, isCopied, writeL1Entry } from "../format/index.ts";
import type { L1Table } from "../image/index.ts";
import { type CopiedIntent, type EntryRun, copiedChecksum } from "../intent/index.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

export interface CopiedIntents {
  /** Flags that clear: before the switch, or a guest could write to a shared cluster in place. */
  readonly clear: CopiedIntent[];
  /** Flags that set: behind it, when the other reference is gone. */
  readonly set: CopiedIntent[];
}

/** Flags that change. */
export function countFlags({ clear, set }: CopiedIntents): number {
  let flags = 0;
  for (const { runs } of [...clear, ...set]) for (const [, count] of runs) flags += count;
  return flags;
}

/** The rule of the COPIED flag: set where, and only where, exactly one path leads to the cluster. */
const isCopiedAfter = (changes: RefcountChanges, cluster: number): boolean => changes.after(cluster) === 1;

class Runs {
  readonly set: EntryRun[] = [];
  readonly clear: EntryRun[] = [];

  add(entry: number, flag: boolean): void {
    const runs = flag ? this.set : this.clear;
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === entry) runs[runs.length - 1] = [last[0], last[1] + 1];
    else runs.push([entry, 1]);
  }

  /** `table` holds the big endian bytes; its COPIED flags are cleared for the checksum. */
  into(result: CopiedIntents, offset: number, table: Uint8Array, entrySize: 8 | 16): void {
    if (this.set.length === 0 && this.clear.length === 0) return;
    const checksum = copiedChecksum(table, entrySize);
    const common = { kind: "copied", table: offset, length: table.length, entrySize, checksum } as const;
    if (this.clear.length > 0) result.clear.push({ ...common, set: false, runs: this.clear });
    if (this.set.length > 0) result.set.push({ ...common, set: true, runs: this.set });
  }
}

/**
 * Compares the flags of an L2 table, reachable from the active layer afterwards,
 * with what they have to be. `words` is turned back into big endian bytes.
 * @throws QcowalError IMAGE_INVALID when a cluster of the active layer would not be counted
 */
export function copiedInL2(
  changes: RefcountChanges,
  offset: number,
  words: Uint32Array,
  result: CopiedIntents,
): void {
  const { geometry } = changes.stored;
  const reference: L2Reference = { kind: "none", first: 0, last: 0 };
  const step = geometry.l2EntrySize / 4;
  const runs = new Runs();
  for (let at = 0; at < words.length; at += step) {
    const high = words[at] ?? 0;
    const low = words[at + 1] ?? 0;
    if (high === 0 && low === 0) continue;
    decodeL2Entry(geometry, high, low, reference);
    if (reference.kind === "invalid") {
      throw changes.damaged(`L2 table at 0x${offset.toString(16)}: entry ${at / step} is invalid`);
    }
    let flag = false;
    if (reference.kind === "standard") {
      const after = changes.after(reference.first);
      if (after === 0) throw changes.damaged(`cluster ${reference.first} is in use but its refcount is 0`);
      flag = after === 1;
    }
    if (flag !== isCopied(high)) runs.add(at / step, flag);
  }
  const bytes = Buffer.from(words.buffer, words.byteOffset, words.byteLength);
  bytes.swap32();
  runs.into(result, offset, bytes, geometry.l2EntrySize);
}

/** The same for the entries of an active L1 table that stays where it is, a cluster at a time. */
export function copiedInL1(changes: RefcountChanges, l1: L1Table, result: CopiedIntents): void {
  const { geometry } = changes.stored;
  const perCluster = geometry.l1EntriesPerCluster;
  for (let base = 0; base < l1.entries; base += perCluster) {
    const count = Math.min(perCluster, l1.entries - base);
    const runs = new Runs();
    for (let entry = 0; entry < count; entry += 1) {
      const flag = copiedOfL1Entry(changes, l1.targets[base + entry] ?? 0);
      if (flag !== (l1.copied[base + entry] === 1)) runs.add(entry, flag);
    }
    runs.into(result, l1.offset + base * 8, l1Bytes(l1, base, count), 8);
  }
}

/** Clears flags in the L1 table of a snapshot, where they mean nothing: of entries that point to a wanted target. */
export function clearedInL1(
  l1: L1Table,
  perCluster: number,
  isWanted: (target: number) => boolean,
  result: CopiedIntents,
): void {
  for (let base = 0; base < l1.entries; base += perCluster) {
    const count = Math.min(perCluster, l1.entries - base);
    const runs = new Runs();
    for (let entry = 0; entry < count; entry += 1) {
      const isSet = l1.copied[base + entry] === 1;
      if (isSet && isWanted(l1.targets[base + entry] ?? 0)) runs.add(entry, false);
    }
    runs.into(result, l1.offset + base * 8, l1Bytes(l1, base, count), 8);
  }
}

/** COPIED flag of an active L1 entry that points to the L2 table at `target`, 0 for none. */
export function copiedOfL1Entry(changes: RefcountChanges, target: number): boolean {
  return target !== 0 && isCopiedAfter(changes, target / changes.stored.geometry.clusterSize);
}

/** The stored bytes of L1 entries, without COPIED flags. Reading refused reserved bits, so nothing else is in them. */
export function l1Bytes(
  l1: Pick<L1Table, "targets">,
  base: number,
  count: number,
  copied: (target: number) => boolean = () => false,
): Uint8Array {
  const bytes = new Uint8Array(count * 8);
  const view = new DataView(bytes.buffer);
  for (let entry = 0; entry < count; entry += 1) {
    const target = l1.targets[base + entry] ?? 0;
    writeL1Entry(view, entry, target, copied(target));
  }
  return bytes;
}
