import { SECTOR_SIZE } from "../format/index.ts";
import type { Reader } from "./inspection.ts";
import { takeSpare } from "./spare-buffers.ts";

/** Bytes of a cluster around a change, widened to whole sectors, read for a read-modify-write; whoever is done may give them back. */
export interface Window {
  /** Offset of the window from the start of the cluster. */
  readonly start: number;
  readonly bytes: Buffer;
}

/**
 * Reads bytes [start, end) of the cluster at `base`, widened to sectors. Where an
 * intent covers a part of a table, that may end in mid-sector, after `length`
 * bytes: what follows belongs to another, which may be written at the same time.
 */
export async function readWindow(
  disk: Reader,
  base: number,
  start: number,
  end: number,
  length = Infinity,
): Promise<Window> {
  const from = Math.floor(start / SECTOR_SIZE) * SECTOR_SIZE;
  const to = Math.min(Math.ceil(end / SECTOR_SIZE) * SECTOR_SIZE, length);
  const bytes = takeSpare(to - from);
  await disk.read(base + from, bytes);
  return { start: from, bytes };
}
