import type { Disk } from "../disk/index.ts";
import { type Inspection, type Reader, foreign } from "./inspection.ts";
import type { PointerIntent } from "./intent.ts";

export async function applyPointer(disk: Disk, intent: PointerIntent): Promise<void> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(intent.to));
  await disk.write(intent.slot, bytes);
}

export async function inspectPointer(disk: Reader, intent: PointerIntent): Promise<Inspection> {
  const bytes = new Uint8Array(8);
  await disk.read(intent.slot, bytes);
  const found = new DataView(bytes.buffer).getBigUint64(0);
  if (found === BigInt(intent.to)) return { state: "after" };
  // Half a pointer names another place than either: the slot is one thing.
  return found === BigInt(intent.from) ? { state: "before" } : foreign(intent.slot, bytes.length);
}
