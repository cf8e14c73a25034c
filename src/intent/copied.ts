import { crc32 } from "node:zlib";
import { giveSpare, takeSpare } from "../disk/index.ts";
import { markCopied, withCopied } from "../format/index.ts";
import { type Inspection, type Reader, foreign, mixture } from "./inspection.ts";
import type { CopiedIntent } from "./intent.ts";
import { invariant } from "../errors/index.ts";
import { type Edit, windowOf } from "./window.ts";

/** Fewer entries than these are marked where they are: to hand them to another loop costs as much. */
const FEW_ENTRIES = 32;

/** CRC-32 of a big endian table with every COPIED flag cleared. */
export function copiedChecksum(table: Uint8Array, entrySize: 8 | 16): number {
  return crc32(withCopied(table, entrySize, false));
}

/** The sectors in which flags change. */
export function copiedEdit({ table, length, entrySize, set, runs }: CopiedIntent): Edit {
  const first = runs[0];
  const last = runs.at(-1);
  invariant(first !== undefined && last !== undefined, "a copied intent without runs");
  const window = windowOf(table, first[0] * entrySize, (last[0] + last[1]) * entrySize, length);
  const change = (bytes: Buffer): void => {
    for (const [from, count] of runs) {
      const first = from * entrySize - window.start;
      const end = first + count * entrySize;
      if (count < FEW_ENTRIES) markCopied(bytes, first, end, entrySize, set);
      else bytes.set(withCopied(bytes.subarray(first, end), entrySize, set), first);
    }
  };
  return { window, isWhole: false, change };
}

export async function inspectCopied(disk: Reader, intent: CopiedIntent): Promise<Inspection> {
  const { entrySize, runs, set } = intent;
  const table = takeSpare(intent.length);
  await disk.read(intent.table, table);
  const cleared = withCopied(table, entrySize, false);
  // Only a checksum is known of the rest of the entries: the change may be anywhere in the table.
  const isOurs = crc32(cleared) === intent.checksum;
  let anySet = false;
  let anyClear = false;
  /** Byte ranges of runs of which some flag is set. */
  const others: (readonly [start: number, end: number])[] = [];
  for (const [first, count] of runs) {
    const [start, end] = [first * entrySize, (first + count) * entrySize];
    if (table.compare(cleared, start, end, start, end) === 0) anyClear = true;
    else others.push([start, end]);
  }
  for (const [start, end] of others) {
    anySet = true;
    const run = table.subarray(start, end);
    if (run.compare(withCopied(run, entrySize, true)) !== 0) anyClear = true;
  }
  giveSpare(table);
  return isOurs
    ? set
      ? mixture(anyClear, anySet)
      : mixture(anySet, anyClear)
    : foreign(intent.table, intent.length);
}
