import { crc32 } from "node:zlib";
import type { Disk } from "../disk/index.ts";
import { COPIED_BYTE, COPIED_BYTE_MASK } from "../format/index.ts";
import { type Inspection, type Reader, foreign, mixture } from "./inspection.ts";
import type { CopiedIntent } from "./intent.ts";
import { invariant } from "../errors/index.ts";
import { giveSpare } from "./spare-buffers.ts";
import { readWindow } from "./window.ts";

/** CRC-32 of a big endian table with every COPIED flag cleared. Clears them in `table`. */
export function copiedChecksum(table: Uint8Array, entrySize: 8 | 16): number {
  for (let at = COPIED_BYTE; at < table.length; at += entrySize) {
    table[at] = (table[at] ?? 0) & ~COPIED_BYTE_MASK;
  }
  return crc32(table);
}

async function readTable(disk: Reader, intent: CopiedIntent): Promise<Uint8Array> {
  // Not zeroed first: a read fills the whole of it.
  const table = Buffer.allocUnsafeSlow(intent.length);
  await disk.read(intent.table, table);
  return table;
}

/** Reads and writes the sectors in which flags change. */
export async function applyCopied(
  disk: Disk,
  { table, length, entrySize, set, runs }: CopiedIntent,
): Promise<void> {
  const first = runs[0];
  const last = runs.at(-1);
  invariant(first !== undefined && last !== undefined, "a copied intent without runs");
  const changeEnd = (last[0] + last[1]) * entrySize;
  const { start, bytes } = await readWindow(disk, table, first[0] * entrySize, changeEnd, length);
  for (const [from, count] of runs) {
    const end = (from + count) * entrySize - start;
    const begin = from * entrySize - start + COPIED_BYTE;
    const [keep, add] = set ? [0xff, COPIED_BYTE_MASK] : [~COPIED_BYTE_MASK, 0];
    for (let at = begin; at < end; at += entrySize) bytes[at] = ((bytes[at] ?? 0) & keep) | add;
  }
  await disk.write(table + start, bytes);
  giveSpare(bytes);
}

export async function inspectCopied(disk: Reader, intent: CopiedIntent): Promise<Inspection> {
  const table = await readTable(disk, intent);
  let before = false;
  let after = false;
  for (const [first, count] of intent.runs) {
    for (let entry = first; entry < first + count; entry += 1) {
      const flag = ((table[entry * intent.entrySize + COPIED_BYTE] ?? 0) & COPIED_BYTE_MASK) !== 0;
      if (flag === intent.set) after = true;
      else before = true;
    }
  }
  // Only a checksum is known of the rest of the entries: the change may be anywhere in the table.
  if (copiedChecksum(table, intent.entrySize) !== intent.checksum) {
    return foreign(intent.table, intent.length);
  }
  return mixture(before, after);
}
