import { randomBytes } from "node:crypto";
import { type FileHandle, lstat, open, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { QcowalError, isQcowalError, reasonOf, throwIfAborted } from "../errors/index.ts";
import { nameNewFile, syncDirectory } from "./new-file.ts";
import type { View } from "./view.ts";

export interface OutputOptions {
  /** Replace a file that is there. */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
  /** Hears of bytes of the disk that are done and of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * A new file, which `fill` writes. It grows under a temporary name beside `target`, an
 * absolute path, and is synced before it gets its own: under that there is never a part.
 * @throws QcowalError OUTPUT_EXISTS, NO_SPACE, IO_FAILED, and what `fill` throws
 */
export async function writeNewOutput<Result>(
  view: View,
  target: string,
  { force = false }: OutputOptions,
  fill: (handle: FileHandle) => Promise<Result>,
): Promise<Result> {
  await assertFree(view, target, force);
  const partial = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.partial`);
  try {
    const handle = await open(partial, "wx");
    try {
      const result = await fill(handle);
      await handle.sync();
      await publish(partial, target, force);
      return result;
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

/** @throws QcowalError ABORTED */
export const assertNotCalledOff = (signal: AbortSignal | undefined): void =>
  throwIfAborted(signal, "Called off. Nothing is left of the output.");

/** Writes all of `bytes` at `offset`. */
export async function writeWhole(handle: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await handle.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
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

async function publish(partial: string, target: string, force: boolean): Promise<void> {
  if (!force) {
    await nameNewFile(partial, target);
    return;
  }
  await rename(partial, target);
  await syncDirectory(dirname(target));
}

function outputError(error: unknown, target: string): unknown {
  if (isQcowalError(error) || !(error instanceof Error) || !("code" in error)) return error;
  if (error.code === "EEXIST") return exists(target);
  const code = error.code === "ENOSPC" || error.code === "EDQUOT" ? "NO_SPACE" : "IO_FAILED";
  return new QcowalError(code, `${target} cannot be written: ${reasonOf(error)} Nothing is left of it.`, {
    cause: error,
  });
}
