import { constants, copyFile, open, rm, stat } from "node:fs/promises";
import type { Disk } from "../disk/index.ts";
import { writeWhole } from "../export/index.ts";
import { isZeros } from "../image/index.ts";
import type { Intent } from "../intent/index.ts";

/** Read at once. */
const PIECE_BYTES = 1024 * 1024;

export interface CopyFileOptions {
  /** The `discard` intents say what need not be copied, in the order of the file. */
  readonly without: Iterable<Intent>;
  /** What it throws ends the copying. */
  readonly checkpoint: () => void;
  readonly onProgress: ((done: number, total: number) => void) | undefined;
}

/**
 * Makes `copy`, a file that is not there, with the bytes of another. True when the
 * file system shares them, as a reflink: then what need not be copied is there as well.
 */
export async function copyFileInto(
  disk: Disk,
  copy: string,
  { without, checkpoint, onProgress }: CopyFileOptions,
): Promise<boolean> {
  checkpoint();
  try {
    await copyFile(disk.path, copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    // Most file systems cannot: then the bytes are copied, and holes stay holes.
    await rm(copy, { force: true });
  }
  const handle = await open(copy, "wx", (await stat(disk.path)).mode & 0o777);
  try {
    const size = await disk.size();
    await handle.truncate(size);
    const buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
    for (const { from, end, parts } of pieces(size, without)) {
      checkpoint();
      const bytes = buffer.subarray(0, end - from);
      if (parts.length > 0) await disk.read(from, bytes);
      for (const [offset, length] of parts) {
        const part = bytes.subarray(offset - from, offset - from + length);
        if (!isZeros(part)) await writeWhole(handle, part, offset);
      }
      onProgress?.(end, size);
    }
  } finally {
    await handle.close();
  }
  return false;
}

type Part = readonly [offset: number, length: number];

interface Piece {
  readonly from: number;
  readonly end: number;
  /** What of it is copied. */
  readonly parts: readonly Part[];
}

/** The file in pieces. */
function* pieces(size: number, without: Iterable<Intent>): Generator<Piece> {
  const parts = partsWithout(size, without);
  let part = parts.next();
  for (let from = 0; from < size; from += PIECE_BYTES) {
    const end = Math.min(from + PIECE_BYTES, size);
    const inside: Part[] = [];
    while (part.done !== true && part.value[0] < end) {
      const [offset, length] = part.value;
      const first = Math.max(offset, from);
      inside.push([first, Math.min(offset + length, end) - first]);
      // The rest of it lies in the next piece.
      if (offset + length > end) break;
      part = parts.next();
    }
    yield { from, end, parts: inside };
  }
}

/** The parts of the file between what is left out. */
function* partsWithout(size: number, without: Iterable<Intent>): Generator<Part> {
  let at = 0;
  for (const intent of without) {
    if (intent.kind !== "discard") continue;
    for (const [offset, length] of intent.runs) {
      if (offset > at) yield [at, offset - at];
      at = offset + length;
    }
  }
  if (size > at) yield [at, size - at];
}
