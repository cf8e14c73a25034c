import { crc32 } from "node:zlib";
import { COPIED_BYTE, COPIED_BYTE_MASK, markCopied, withCopied } from "../format/index.ts";
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

async function readTable(disk: Reader, intent: CopiedIntent): Promise<Buffer> {
  // Not zeroed first: a read fills the whole of it.
  const table = Buffer.allocUnsafeSlow(intent.length);
  await disk.read(intent.table, table);
  return table;
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
