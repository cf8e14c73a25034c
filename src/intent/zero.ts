import type { Disk } from "../disk/index.ts";
import { PLAIN_ZERO_ENTRY } from "../format/index.ts";
import { type Inspection, type Reader, foreign, mixture } from "./inspection.ts";
import type { ZeroIntent } from "./intent.ts";

const ENTRY_BYTES = PLAIN_ZERO_ENTRY.length;

export async function applyZero(disk: Disk, { table, entries }: ZeroIntent): Promise<void> {
  for (const [entry] of entries) await disk.write(table + entry * ENTRY_BYTES, PLAIN_ZERO_ENTRY);
}

export async function inspectZero(disk: Reader, { table, entries }: ZeroIntent): Promise<Inspection> {
  let before = false;
  let after = false;
  const found = Buffer.alloc(ENTRY_BYTES);
  for (const [entry, high, low] of entries) {
    await disk.read(table + entry * ENTRY_BYTES, found);
    if (found.equals(PLAIN_ZERO_ENTRY)) after = true;
    else if (found.readUInt32BE(0) === high && found.readUInt32BE(4) === low) before = true;
    // Half an entry names another cluster than either: the entry is one thing.
    else return foreign(table + entry * ENTRY_BYTES, ENTRY_BYTES);
  }
  return mixture(before, after);
}
