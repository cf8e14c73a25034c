import { entryOffset, hasReservedL1Bits, isCopied } from "../../format/index.ts";
import type { CheckContext, Root } from "./context.ts";
import { hex } from "./findings.ts";
import { type L1Segment, l1Pieces } from "./l1-segments.ts";
import { L2TableCollector, type L2Tables, NO_TABLES } from "./l2-tables.ts";
import type { FlagWindow } from "./flag-window.ts";

/** Findings about one entry in the order in which they are told. */
const FORM = 0;
const FLAG = 1;

/** The L2 tables that part of an L1 table names. Zero is one when other bits of the entry are set. */
export function* l2OffsetsIn(words: Uint32Array): Generator<number> {
  for (let at = 0; at < words.length; at += 2) {
    const high = words[at] ?? 0;
    const low = words[at + 1] ?? 0;
    if (high !== 0 || low !== 0) yield entryOffset(high, low);
  }
}

/** Gathers the L2 tables that all L1 tables name, from one on. `visit` is called for each entry that is not empty. */
export async function collectL2Tables(
  context: CheckContext,
  from: number,
  visit?: (segment: L1Segment, place: number, high: number, low: number) => void,
): Promise<L2Tables> {
  const tables = new L2TableCollector(from, context.memory.tables);
  for await (const { segment, offset: start, words } of l1Pieces(context, context.roots)) {
    for (let at = 0; at < words.length; at += 2) {
      const high = words[at] ?? 0;
      const low = words[at + 1] ?? 0;
      if (high === 0 && low === 0) continue;
      visit?.(segment, start + at * 4, high, low);
      tables.add(entryOffset(high, low), segment.weight, segment.isActive ? 1 : 0);
    }
  }
  return tables.finish();
}

/** Checks the entries of all L1 tables, and gathers the L2 tables that they lead to. */
export async function walkL1Tables(context: CheckContext, flags: FlagWindow): Promise<L2Tables> {
  return collectL2Tables(context, 0, (segment, place, high, low) => {
    checkEntry(context, segment, place, high, low);
    if (segment.isActive) checkCopied(context, place, high, low, flags);
  });
}

/** All L2 tables, as many at a time as have room. Those that all have it are gathered once. */
export class L2Groups {
  readonly #context: CheckContext;
  #first: L2Tables | undefined;
  readonly #isWhole: boolean;

  constructor(context: CheckContext, first: L2Tables) {
    this.#context = context;
    this.#first = first;
    this.#isWhole = first.next === Infinity;
  }

  /** All of them; undefined when they do not have room at a time. */
  get all(): L2Tables | undefined {
    return this.#isWhole ? this.#first : undefined;
  }

  async *each(): AsyncGenerator<L2Tables> {
    let tables = this.#first ?? (await collectL2Tables(this.#context, 0));
    if (!this.#isWhole) this.#first = undefined;
    yield tables;
    while (tables.next !== Infinity) {
      const from = tables.next;
      tables = NO_TABLES;
      tables = await collectL2Tables(this.#context, from);
      yield tables;
    }
  }
}

/** Checks the flags of the active L1 table alone. */
export async function checkL1Flags(context: CheckContext, flags: FlagWindow): Promise<void> {
  for await (const { offset, words } of l1Pieces(context, context.roots.slice(0, 1))) {
    for (let at = 0; at < words.length; at += 2) {
      checkCopied(context, offset + at * 4, words[at] ?? 0, words[at + 1] ?? 0, flags);
    }
  }
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
    findings.add("corruption", "l1Tables", () => ({ ...entryAt(roots[0], place), what }), weight, [
      place,
      FORM,
    ]);
  }
  if (offset % head.header.geometry.clusterSize !== 0) {
    const what = `L2 table at ${hex(offset)} is not cluster aligned`;
    findings.add("corruption", "l1Tables", () => ({ ...entryAt(roots[0], place), what }), weight, [
      place,
      FORM,
    ]);
  }
}

/** In the active layer the flag has to say whether the refcount is 1; where that is unknown it may say anything. */
function checkCopied(
  { findings, head, roots }: CheckContext,
  place: number,
  high: number,
  low: number,
  flags: FlagWindow,
): void {
  const offset = entryOffset(high, low);
  if (offset === 0) return;
  const cluster = Math.floor(offset / head.header.geometry.clusterSize);
  const isOne = flags.isOne(cluster);
  if (isOne === undefined || isCopied(high) === isOne) return;
  const what = copiedText("L2 table", isOne);
  findings.add("corruption", "l1Tables", () => ({ ...entryAt(roots[0], place), cluster, what }), 1, [
    place,
    FLAG,
  ]);
}

export const copiedText = (what: string, isOne: boolean): string =>
  isOne
    ? `the COPIED flag of an ${what} with refcount 1 is clear`
    : `the COPIED flag of an ${what} is set, and its refcount is not 1`;
