import { SECTOR_SIZE } from "../format/index.ts";

/** Bytes around a change, widened to whole sectors, for a read-modify-write. */
export interface Window {
  /** In the file. */
  readonly offset: number;
  readonly length: number;
  /** The same from the start of the cluster. */
  readonly start: number;
}

/** A change inside some sectors: they are read, changed and written. */
export interface Edit {
  readonly window: Window;
  /** Nothing of what lies there stays, so it need not be read. */
  readonly isWhole: boolean;
  /** Makes the change in the bytes of the window. */
  readonly change: (bytes: Buffer) => void;
}

/**
 * Bytes [start, end) of the cluster at `base`, widened to sectors. Where an intent
 * covers a part of a table, that may end in mid-sector, after `length` bytes: what
 * follows belongs to another, which may be written at the same time.
 */
export function windowOf(base: number, start: number, end: number, length = Infinity): Window {
  const from = Math.floor(start / SECTOR_SIZE) * SECTOR_SIZE;
  const to = Math.min(Math.ceil(end / SECTOR_SIZE) * SECTOR_SIZE, length);
  return { offset: base + from, length: to - from, start: from };
}
