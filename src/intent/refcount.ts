import { giveSpare, takeSpare } from "../disk/index.ts";
import { invariant } from "../errors/index.ts";
import { areAlike, fillRefcounts, readRefcount, refcountByteRange } from "../format/index.ts";
import { type Inspection, type Reader, foreign, mixture } from "./inspection.ts";
import type { RefcountIntent } from "./intent.ts";
import { type Edit, type Window, windowOf } from "./window.ts";

/** The sectors of the block that the runs lie in, and the first entry in them. */
function sectorsOf({ block, order, runs }: RefcountIntent): { window: Window; firstEntry: number } {
  const first = runs[0];
  const last = runs.at(-1);
  invariant(first !== undefined && last !== undefined, "a refcount intent without runs");
  const range = refcountByteRange({ refcountOrder: order }, first[0], last[0] + last[1] - 1);
  const window = windowOf(block, range.start, range.end);
  return { window, firstEntry: (window.start * 8) / 2 ** order };
}

const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

export function refcountEdit(intent: RefcountIntent): Edit {
  const { window, firstEntry } = sectorsOf(intent);
  const geometry = { refcountOrder: intent.order };
  let covered = firstEntry;
  for (const [first, count] of intent.runs) if (first === covered) covered += count;
  return {
    window,
    isWhole: (covered - firstEntry) * 2 ** intent.order === window.length * 8,
    change(bytes) {
      const view = viewOf(bytes);
      for (const [first, count, , to] of intent.runs) {
        fillRefcounts(view, geometry, first - firstEntry, count, to);
      }
    },
  };
}

export async function inspectRefcount(disk: Reader, intent: RefcountIntent): Promise<Inspection> {
  const { window, firstEntry } = sectorsOf(intent);
  const geometry = { refcountOrder: intent.order };
  const bytes = takeSpare(window.length);
  await disk.read(window.offset, bytes);
  const view = viewOf(bytes);
  let before = false;
  let after = false;
  let odd: { first: number; last: number } | undefined;
  for (const [first, count, from, to] of intent.runs) {
    const end = first + count;
    const alike = areAlike(bytes, geometry, first - firstEntry, count) ? count : 1;
    for (let entry = first; entry < end; entry += alike) {
      const found = readRefcount(view, geometry, entry - firstEntry);
      const last = entry + alike - 1;
      if (found === to) after = true;
      else if (found === from) before = true;
      else if (odd === undefined) odd = { first: entry, last };
      else if (odd.last === entry - 1) odd.last = last;
    }
  }
  giveSpare(bytes);
  if (odd === undefined) return mixture(before, after);
  const { start, end } = refcountByteRange(geometry, odd.first, odd.last);
  return foreign(intent.block + start, end - start);
}
