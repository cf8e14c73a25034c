import { SECTOR_SIZE } from "../format/index.ts";
import type { Reader } from "./inspection.ts";

/** Bytes of a cluster around a change, widened to whole sectors, read for a read-modify-write. */
export interface Window {
  /** Offset of the window from the start of the cluster. */
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** Reads bytes [start, end) of the cluster at `base`, widened to sectors. */
export async function readWindow(disk: Reader, base: number, start: number, end: number): Promise<Window> {
  const from = Math.floor(start / SECTOR_SIZE) * SECTOR_SIZE;
  // Not zeroed first: a read fills the whole of it.
  const bytes = Buffer.allocUnsafeSlow(Math.ceil(end / SECTOR_SIZE) * SECTOR_SIZE - from);
  await disk.read(base + from, bytes);
  return { start: from, bytes };
}
