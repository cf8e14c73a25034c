import { entryOffset, hasReservedL1Bits, isCopied } from "../../format/index.ts";
import type { CheckContext, Root } from "./context.ts";
import { hex } from "./findings.ts";
import { type L1Segment, l1Pieces } from "./l1-segments.ts";
import type { StoredRefcounts } from "./stored-refcounts.ts";

/** How many L1 entries lead to each L2 table, by its host offset. */
export interface L2Paths {
  readonly all: Map<number, number>;
  /** Those of the active layer. */
  readonly active: Map<number, number>;
}

/** The L2 tables that part of an L1 table names. Zero is one when other bits of the entry are set. */
export function* l2OffsetsIn(words: Uint32Array): Generator<number> {
  for (let at = 0; at < words.length; at += 2) {
    const high = words[at] ?? 0;
    const low = words[at + 1] ?? 0;
    if (high !== 0 || low !== 0) yield entryOffset(high, low);
  }
}

/** Checks the entries of all L1 tables, and counts the paths to each L2 table. */
export async function walkL1Tables(context: CheckContext, stored: StoredRefcounts): Promise<L2Paths> {
  const paths: L2Paths = { all: new Map(), active: new Map() };
  for await (const { segment, offset: start, words } of l1Pieces(context)) {
    for (let at = 0; at < words.length; at += 2) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      if (high === 0 && low === 0) continue;
      const offset = entryOffset(high, low);
      const place = start + at * 4;
      checkEntry(context, segment, place, high, low);
      paths.all.set(offset, (paths.all.get(offset) ?? 0) + segment.weight);
      if (!segment.isActive) continue;
      paths.active.set(offset, (paths.active.get(offset) ?? 0) + 1);
      if (offset !== 0) checkCopied(context, place, high, offset, stored);
    }
  }
  return paths;
}

/** Where the entry at `place` is, in the words of the first root that has it. */
function entryAt(root: Root | undefined, place: number) {
  const { name, offset } = root ?? { name: "", offset: 0 };
  return { where: `L1 table of ${name}, entry ${(place - offset) / 8}`, offset, owner: name };
}

function checkEntry(
  { findings, head }: CheckContext,
  { roots, weight }: L1Segment,
  place: number,
  high: number,
  low: number,
): void {
  const offset = entryOffset(high, low);
  if (hasReservedL1Bits(high, low)) {
    const what = "reserved bits are set";
    findings.add("corruption", () => ({ ...entryAt(roots[0], place), what }), weight);
  }
  if (offset % head.header.geometry.clusterSize !== 0) {
    const what = `L2 table at ${hex(offset)} is not cluster aligned`;
    findings.add("corruption", () => ({ ...entryAt(roots[0], place), what }), weight);
  }
}

/** In the active layer the flag has to say whether the refcount is 1; where that is unknown it may say anything. */
function checkCopied(
  { findings, head, roots }: CheckContext,
  place: number,
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
    ...entryAt(roots[0], place),
    cluster,
    what: copiedText("L2 table", isOne),
  }));
}

export const copiedText = (what: string, isOne: boolean): string =>
  isOne
    ? `the COPIED flag of an ${what} with refcount 1 is clear`
    : `the COPIED flag of an ${what} is set, and its refcount is not 1`;
