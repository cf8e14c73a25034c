import { crc32 } from "node:zlib";
import type { Disk } from "../disk/index.ts";
import { COPIED_BYTE, COPIED_BYTE_MASK, SECTOR_SIZE } from "../format/index.ts";
import { type Inspection, type Reader, foreign, mixture } from "./inspection.ts";
import type { CopiedIntent } from "./intent.ts";
import { invariant } from "../errors/index.ts";

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

export async function applyCopied(disk: Disk, intent: CopiedIntent): Promise<void> {
  const table = await readTable(disk, intent);
  for (const [first, count] of intent.runs) {
    for (let entry = first; entry < first + count; entry += 1) {
      const at = entry * intent.entrySize + COPIED_BYTE;
      table[at] = intent.set ? (table[at] ?? 0) | COPIED_BYTE_MASK : (table[at] ?? 0) & ~COPIED_BYTE_MASK;
    }
  }
  const firstRun = intent.runs[0];
  const lastRun = intent.runs.at(-1);
  invariant(firstRun !== undefined && lastRun !== undefined, "a copied intent without runs");
  const start = Math.floor((firstRun[0] * intent.entrySize) / SECTOR_SIZE) * SECTOR_SIZE;
  const end = Math.ceil(((lastRun[0] + lastRun[1]) * intent.entrySize) / SECTOR_SIZE) * SECTOR_SIZE;
  await disk.write(intent.table + start, table.subarray(start, Math.min(end, table.length)));
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
