import { randomBytes } from "node:crypto";
import { type FileHandle, link, lstat, open, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { QcowalError, isQcowalError, reasonOf } from "../errors/index.ts";
import { readAhead } from "./read-ahead.ts";
import type { Chunk, View } from "./view.ts";

export interface WriteRawOptions {
  /** Replace a file that is there. */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
  /** Hears of bytes done and of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface WrittenRaw {
  /** Absolute path. */
  readonly path: string;
  readonly size: number;
  /** Bytes that were written; the rest are holes. */
  readonly written: number;
}

const WINDOW_BYTES = 1024 * 1024;
const WINDOWS_AHEAD = 4;
/** The block of most file systems: shorter zeros save no space. */
const BLOCK_BYTES = 4096;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

/**
 * Writes the content as a raw file, with holes where there are zeros. It grows
 * under a temporary name beside `path` and is synced before it gets its own:
 * under that there is never a part.
 * @throws QcowalError OUTPUT_EXISTS, NO_SPACE, IO_FAILED, ABORTED, and what reading throws
 */
export async function writeRaw(view: View, path: string, options: WriteRawOptions = {}): Promise<WrittenRaw> {
  const target = resolve(path);
  await assertFree(view, target, options.force === true);
  const partial = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.partial`);
  try {
    const handle = await open(partial, "wx");
    try {
      const written = await fill(handle, view, options);
      await handle.sync();
      await publish(partial, target, options.force === true);
      return { path: target, size: view.size, written };
    } catch (error) {
      await unlink(partial).catch(() => undefined);
      throw error;
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw outputError(error, target);
  }
}

async function assertFree(view: View, target: string, force: boolean): Promise<void> {
  const present = await lstat(target).catch(() => undefined);
  if (present === undefined) return;
  if (!force) throw exists(target);
  if (!present.isFile()) {
    throw new QcowalError("OUTPUT_EXISTS", `${target} is not a regular file. It was left as it is.`);
  }
  for (const file of view.files) {
    const source = await stat(file);
    if (source.dev === present.dev && source.ino === present.ino) {
      throw new QcowalError("OUTPUT_EXISTS", `${target} is what is to be read. It was left as it is.`);
    }
  }
}

const exists = (target: string): QcowalError =>
  new QcowalError("OUTPUT_EXISTS", `${target} exists already. It was left as it is; --force replaces it.`);

/** A link fails where somebody made a file of the name meanwhile; a rename would replace it. */
async function publish(partial: string, target: string, force: boolean): Promise<void> {
  if (force) await rename(partial, target);
  else {
    await link(partial, target);
    await unlink(partial);
  }
  const dir = await open(dirname(target), "r");
  try {
    await dir.sync();
  } finally {
    await dir.close();
  }
}

function outputError(error: unknown, target: string): unknown {
  if (isQcowalError(error) || !(error instanceof Error) || !("code" in error)) return error;
  if (error.code === "EEXIST") return exists(target);
  const code = error.code === "ENOSPC" || error.code === "EDQUOT" ? "NO_SPACE" : "IO_FAILED";
  return new QcowalError(code, `${target} cannot be written: ${reasonOf(error)} Nothing is left of it.`, {
    cause: error,
  });
}

async function fill(handle: FileHandle, view: View, options: WriteRawOptions): Promise<number> {
  await handle.truncate(view.size);
  let written = 0;
  const read = async (offset: number): Promise<Chunk> => {
    const bytes = new Uint8Array(Math.min(WINDOW_BYTES, view.size - offset));
    await view.read(offset, bytes);
    return { offset, bytes };
  };
  for await (const { offset, bytes } of readAhead(windows(view), WINDOWS_AHEAD, read)) {
    if (options.signal?.aborted === true) {
      throw new QcowalError("ABORTED", "Called off. Nothing is left of the output.", {
        cause: options.signal.reason,
      });
    }
    for (const { from, to } of dataRuns(bytes)) {
      for (let at = from; at < to;) {
        const { bytesWritten } = await handle.write(bytes, at, to - at, offset + at);
        at += bytesWritten;
        written += bytesWritten;
      }
    }
    options.onProgress?.(offset + bytes.length, view.size);
  }
  return written;
}

/** Where there is something to read. */
async function* windows(view: View): AsyncGenerator<number> {
  let next = 0;
  for await (const { offset, length, kind } of view.extents()) {
    if (kind === "hole" || kind === "zero") continue;
    next = Math.max(next, Math.floor(offset / WINDOW_BYTES) * WINDOW_BYTES);
    for (; next < offset + length; next += WINDOW_BYTES) yield next;
  }
}

/** The parts that are not zeros, in whole blocks. */
function* dataRuns(bytes: Uint8Array): Generator<{ readonly from: number; readonly to: number }> {
  let from = -1;
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const block = bytes.subarray(at, at + BLOCK_BYTES);
    const isZero = Buffer.compare(block, ZEROS.subarray(0, block.length)) === 0;
    if (isZero && from >= 0) yield { from, to: at };
    if (isZero) from = -1;
    else if (from < 0) from = at;
  }
  if (from >= 0) yield { from, to: bytes.length };
}
