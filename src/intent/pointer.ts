import type { Disk } from "../disk/index.ts";
import type { IntentState, PointerIntent } from "./intent.ts";

export async function applyPointer(disk: Disk, intent: PointerIntent): Promise<void> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(intent.to));
  await disk.write(intent.slot, bytes);
}

export async function inspectPointer(disk: Disk, intent: PointerIntent): Promise<IntentState> {
  const bytes = new Uint8Array(8);
  await disk.read(intent.slot, bytes);
  const found = new DataView(bytes.buffer).getBigUint64(0);
  if (found === BigInt(intent.to)) return "after";
  return found === BigInt(intent.from) ? "before" : "foreign";
}
