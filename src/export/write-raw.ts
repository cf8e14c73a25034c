import type { FileHandle } from "node:fs/promises";
import { resolve } from "node:path";
import { contentWindows } from "./content-windows.ts";
import { type OutputOptions, assertNotCalledOff, writeNewOutput, writeWhole } from "./new-output.ts";
import { inParallel } from "./parallel.ts";
import type { View } from "./view.ts";

export type WriteRawOptions = OutputOptions;

export interface WrittenRaw {
  /** Absolute path. */
  readonly path: string;
  readonly size: number;
  /** Bytes that were written; the rest are holes. */
  readonly written: number;
}

const WINDOW_BYTES = 2 * 1024 * 1024;
/** Windows that are read and written at the same time; with a buffer for each, what is held does not grow. */
const LANES = 4;
/** The block of most file systems: shorter zeros save no space. */
const BLOCK_BYTES = 4096;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

/**
 * Writes the content as a raw file, with holes where there are zeros. It grows
 * under a temporary name beside `path` and is synced before it gets its own:
 * under that there is never a part. It holds some 20 MiB, whatever the size of the disk.
 * @throws QcowalError OUTPUT_EXISTS, NO_SPACE, IO_FAILED, ABORTED, and what reading throws
 */
export async function writeRaw(view: View, path: string, options: WriteRawOptions = {}): Promise<WrittenRaw> {
  const target = resolve(path);
  const written = await writeNewOutput(view, target, options, (handle) => fill(handle, view, options));
  return { path: target, size: view.size, written };
}

async function fill(handle: FileHandle, view: View, options: WriteRawOptions): Promise<number> {
  await handle.truncate(view.size);
  const buffers = Array.from({ length: LANES }, () => Buffer.allocUnsafeSlow(WINDOW_BYTES));
  let written = 0;
  let furthest = 0;
  await inParallel(contentWindows(view, WINDOW_BYTES, options.signal), LANES, async (offset, lane) => {
    assertNotCalledOff(options.signal);
    const length = Math.min(WINDOW_BYTES, view.size - offset);
    const bytes = (buffers[lane] as Buffer).subarray(0, length);
    await view.read(offset, bytes);
    for (const { from, to } of dataRuns(bytes)) {
      await writeWhole(handle, bytes.subarray(from, to), offset + from);
      written += to - from;
    }
    furthest = Math.max(furthest, offset + length);
    options.onProgress?.(furthest, view.size);
  });
  return written;
}

/** The parts that are not zeros, in whole blocks. */
function* dataRuns(bytes: Buffer): Generator<{ readonly from: number; readonly to: number }> {
  let from = -1;
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const length = Math.min(BLOCK_BYTES, bytes.length - at);
    // Most blocks that are not zeros do not begin with one: those are not compared.
    const isZero = bytes[at] === 0 && bytes.compare(ZEROS, 0, length, at, at + length) === 0;
    if (isZero && from >= 0) yield { from, to: at };
    if (isZero) from = -1;
    else if (from < 0) from = at;
  }
  if (from >= 0) yield { from, to: bytes.length };
}
