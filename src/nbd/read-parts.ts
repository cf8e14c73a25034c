import type { GuestDisk } from "../export/index.ts";

/** A part of a read: content, or a hole that need not be sent. */
export interface ReadPart {
  readonly offset: number;
  readonly length: number;
  readonly hole: boolean;
}

/** Content is read and sent in pieces of this size at most. */
export const PIECE = 1024 * 1024;

/** A hole that is shorter costs more in headers and reads than its zeros. */
const MIN_HOLE = 4096;

/** A read that is no longer is sent as it is: to look for its holes takes longer than to send their zeros. */
const MIN_SEARCHED = 16 * 1024;

/** The rest of a read that is cut up smaller than this is read as it is. */
const MAX_EXTENTS = 256;

/** Where the holes of a range are, and the content between them in pieces. */
export async function readParts(
  disk: GuestDisk,
  offset: number,
  length: number,
  piece: number,
): Promise<ReadPart[]> {
  if (length <= Math.min(MIN_SEARCHED, piece)) return [{ offset, length, hole: false }];
  const holes: { offset: number; length: number }[] = [];
  let extents = 0;
  for await (const { kind, ...extent } of disk.extents(offset, length)) {
    if (kind === "zero" || kind === "hole") {
      const last = holes.at(-1);
      if (last !== undefined && last.offset + last.length === extent.offset) last.length += extent.length;
      else holes.push({ offset: extent.offset, length: extent.length });
    }
    extents += 1;
    if (extents === MAX_EXTENTS) break;
  }

  const parts: ReadPart[] = [];
  let at = offset;
  const contentUntil = (end: number): void => {
    for (; at < end; at += piece) parts.push({ offset: at, length: Math.min(piece, end - at), hole: false });
    at = end;
  };
  for (const hole of holes) {
    if (hole.length < MIN_HOLE) continue;
    contentUntil(hole.offset);
    parts.push({ ...hole, hole: true });
    at = hole.offset + hole.length;
  }
  contentUntil(offset + length);
  return parts;
}
