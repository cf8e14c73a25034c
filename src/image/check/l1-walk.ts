import { entryOffset, hasReservedL1Bits, isCopied } from "../../format/index.ts";
import { type CheckContext, type Root, readEntries } from "./context.ts";
import { hex } from "./findings.ts";
import type { StoredRefcounts } from "./stored-refcounts.ts";

/** How many L1 entries lead to each L2 table, by its host offset. */
export interface L2Paths {
  readonly all: Map<number, number>;
  /** Those of the active layer. */
  readonly active: Map<number, number>;
}

/** Offsets of the L2 tables of a root, as often as they are named. Zero is one when other bits of the entry are set. */
export async function* l2Offsets(context: CheckContext, root: Root): AsyncGenerator<number[]> {
  for await (const { words } of readEntries(context, root.offset, root.entries)) {
    const offsets: number[] = [];
    for (let at = 0; at < words.length; at += 2) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      if (high !== 0 || low !== 0) offsets.push(entryOffset(high, low));
    }
    yield offsets;
  }
}

/** Checks the entries of all L1 tables, and counts the paths to each L2 table. */
export async function walkL1Tables(context: CheckContext, stored: StoredRefcounts): Promise<L2Paths> {
  const paths: L2Paths = { all: new Map(), active: new Map() };
  for (const root of context.roots) {
    for await (const { first, words } of readEntries(context, root.offset, root.entries)) {
      for (let at = 0; at < words.length; at += 2) {
        const high = words[at] ?? 0;
        const low = words[at + 1] ?? 0;
        if (high === 0 && low === 0) continue;
        const offset = entryOffset(high, low);
        checkEntry(context, root, first + at / 2, high, low);
        paths.all.set(offset, (paths.all.get(offset) ?? 0) + 1);
        if (root.snapshot !== undefined) continue;
        paths.active.set(offset, (paths.active.get(offset) ?? 0) + 1);
        if (offset !== 0) checkCopied(context, root, first + at / 2, high, offset, stored);
      }
    }
  }
  return paths;
}

function checkEntry(context: CheckContext, root: Root, index: number, high: number, low: number): void {
  const { findings, head } = context;
  const offset = entryOffset(high, low);
  const at = { where: `L1 table of ${root.name}, entry ${index}`, offset: root.offset, owner: root.name };
  if (hasReservedL1Bits(high, low)) {
    findings.add("corruption", () => ({ ...at, what: "reserved bits are set" }));
  }
  if (offset % head.header.geometry.clusterSize !== 0) {
    findings.add("corruption", () => ({ ...at, what: `L2 table at ${hex(offset)} is not cluster aligned` }));
  }
}

/** The flag has to say whether the refcount is 1; where that is unknown it may say anything. */
function checkCopied(
  { findings, head }: CheckContext,
  root: Root,
  index: number,
  high: number,
  offset: number,
  stored: StoredRefcounts,
): void {
  const { clusterSize, refcountEntries } = head.header.geometry;
  const cluster = Math.floor(offset / clusterSize);
  const entry = cluster % refcountEntries;
  const ones = stored.ones(Math.floor(cluster / refcountEntries));
  if (ones === undefined) return;
  const isOne = (((ones[entry >>> 3] ?? 0) >>> (entry & 7)) & 1) === 1;
  if (isCopied(high) === isOne) return;
  findings.add("corruption", () => ({
    where: `L1 table of ${root.name}, entry ${index}`,
    offset: root.offset,
    cluster,
    owner: root.name,
    what: copiedText("L2 table", isOne),
  }));
}

export const copiedText = (what: string, isOne: boolean): string =>
  isOne
    ? `the COPIED flag of an ${what} with refcount 1 is clear`
    : `the COPIED flag of an ${what} is set, and its refcount is not 1`;
