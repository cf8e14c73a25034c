import { randomUUID } from "node:crypto";
import { open, rename, rm, stat, writeFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { resolvedPath } from "../../journal/index.ts";
import { QcowalError, isQcowalError } from "../index.ts";
import { printable } from "./views/text.ts";

type Pieces = AsyncIterable<string | Uint8Array>;

/**
 * Writes what is made piece by piece to a file, or for "-" to standard output.
 * What is there stays until all of the new one is on disk. A device or a pipe is
 * written to as it is. `consequence` ends the message of a failure.
 */
export async function writeOutput(file: string, pieces: Pieces, consequence: string): Promise<void> {
  try {
    if (file === "-") await pipeline(Readable.from(pieces), process.stdout, { end: false });
    else await toFile(await resolvedPath(file), pieces);
  } catch (error) {
    throw unwritable(file === "-" ? "standard output" : printable(file), error, consequence);
  }
}

async function toFile(path: string, pieces: Pieces): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() === false) await writeFile(path, pieces);
  // What stands in it was read from images and journals: for the owner, as those are.
  else await replaceFile(path, found === undefined ? 0o600 : found.mode & 0o777, pieces);
}

async function replaceFile(path: string, mode: number, pieces: Pieces): Promise<void> {
  const temporary = `${path}.${randomUUID().slice(0, 8)}.new`;
  const handle = await open(temporary, "wx", mode);
  try {
    try {
      for await (const piece of pieces) await handle.appendFile(piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function unwritable(name: string, cause: unknown, consequence: string): unknown {
  if (isQcowalError(cause) || cause instanceof TypeError) return cause;
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  const message = cause instanceof Error ? cause.message : String(cause);
  return new QcowalError(
    code === "ENOSPC" || code === "EDQUOT" ? "NO_SPACE" : "IO_FAILED",
    `${name}: cannot be written: ${message}. ${consequence}`,
    { cause },
  );
}
