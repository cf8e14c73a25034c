import type { Disk } from "../disk/index.ts";
import { invariant } from "../errors/index.ts";
import { fillRefcounts, readRefcount, refcountByteRange } from "../format/index.ts";
import { type Inspection, type Reader, foreign, mixture } from "./inspection.ts";
import type { RefcountIntent } from "./intent.ts";
import { giveSpare } from "./spare-buffers.ts";
import { readWindow } from "./window.ts";

/** The sectors of the block that the runs lie in, with entry numbers counted from the window's start. */
async function load(disk: Reader, intent: RefcountIntent) {
  const first = intent.runs[0];
  const last = intent.runs.at(-1);
  invariant(first !== undefined && last !== undefined, "a refcount intent without runs");
  const geometry = { refcountOrder: intent.order };
  const range = refcountByteRange(geometry, first[0], last[0] + last[1] - 1);
  const { start, bytes } = await readWindow(disk, intent.block, range.start, range.end);
  const firstEntry = (start * 8) / 2 ** intent.order;
  return {
    geometry,
    start,
    bytes,
    view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
    firstEntry,
  };
}

export async function applyRefcount(disk: Disk, intent: RefcountIntent): Promise<void> {
  const { geometry, start, bytes, view, firstEntry } = await load(disk, intent);
  for (const [first, count, , to] of intent.runs) {
    fillRefcounts(view, geometry, first - firstEntry, count, to);
  }
  await disk.write(intent.block + start, bytes);
  giveSpare(bytes);
}

export async function inspectRefcount(disk: Reader, intent: RefcountIntent): Promise<Inspection> {
  const { geometry, view, firstEntry } = await load(disk, intent);
  let before = false;
  let after = false;
  let odd: { first: number; last: number } | undefined;
  for (const [first, count, from, to] of intent.runs) {
    for (let entry = first; entry < first + count; entry += 1) {
      const found = readRefcount(view, geometry, entry - firstEntry);
      if (found === to) after = true;
      else if (found === from) before = true;
      else if (odd === undefined) odd = { first: entry, last: entry };
      else if (odd.last === entry - 1) odd.last = entry;
    }
  }
  if (odd === undefined) return mixture(before, after);
  const { start, end } = refcountByteRange(geometry, odd.first, odd.last);
  return foreign(intent.block + start, end - start);
}
