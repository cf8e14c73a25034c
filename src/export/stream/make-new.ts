import { constants, lstat, open, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Disk, openFileDisk } from "../../disk/index.ts";
import { QcowalError, isQcowalError, reasonOf, withNothingChanged } from "../../errors/index.ts";
import { nameNewFile } from "../new-file.ts";
import { type ReceiveReport, type VerifiedStream, whereItStands } from "./receiving.ts";
import { removeMark } from "./target-mark.ts";

/** What a full stream is written as. */
export interface NewFile {
  /** Size of the disk in a file that is there, and the digest of what it holds. */
  readonly look: (disk: Disk) => Promise<{
    readonly size: number;
    readonly digestOf: () => Promise<string>;
    readonly close?: () => Promise<void>;
  }>;
  /** Writes all of it, syncs it and verifies it. The file is empty. */
  readonly fill: (disk: Disk) => Promise<void>;
}

/** Makes the file that a full stream describes. It has another name until it is whole. */
export async function makeNew(
  target: string,
  stream: VerifiedStream,
  file: NewFile,
): Promise<ReceiveReport["result"]> {
  const temporary = join(dirname(target), `.${basename(target)}.qcowal-new`);
  try {
    await removeSecondName(temporary);
    if (await exists(target)) {
      await removeLeftOver(temporary);
      await expectSame(target, stream, file);
      return "unchanged";
    }
    // Not exclusive: what a killed call left is written anew.
    await (await open(temporary, constants.O_WRONLY | constants.O_CREAT, 0o600)).close();
    await fill(temporary, target, file);
    return "created";
  } catch (error) {
    if (isQcowalError(error) && error.message.includes("Nothing was changed")) throw error;
    const code = isQcowalError(error) ? error.code : "IO_FAILED";
    throw new QcowalError(code, `${reasonOf(error)} Nothing was changed; ${target} was not made.`, {
      cause: error,
    });
  }
}

/** What `makeNew` would do; writes nothing. */
export async function planNew(
  target: string,
  stream: VerifiedStream,
  file: NewFile,
): Promise<ReceiveReport["result"]> {
  if (!(await exists(target))) return "created";
  try {
    await expectSame(target, stream, file);
  } catch (error) {
    throw withNothingChanged(error);
  }
  return "unchanged";
}

/**
 * A call that was killed when its file had got its name has left the temporary one
 * beside it: to write there would change the whole file, whatever it is called by now.
 */
async function removeSecondName(temporary: string): Promise<void> {
  const found = await lstat(temporary).catch(() => undefined);
  if (found !== undefined && found.nlink > 1) await rm(temporary, { force: true });
}

/** Of a call that is still at work its lock tells. */
async function removeLeftOver(temporary: string): Promise<void> {
  const disk = await openFileDisk(temporary, "write").catch(() => undefined);
  if (disk === undefined) return;
  await rm(temporary, { force: true });
  await disk.close();
}

export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** Of a stream that was received before nothing is left to do. */
async function expectSame(target: string, stream: VerifiedStream, { look }: NewFile): Promise<void> {
  const disk = await openFileDisk(target, "read");
  try {
    const { size, digestOf, close } = await look(disk);
    try {
      await whereItStands(target, stream, size, digestOf);
    } finally {
      await close?.();
    }
  } finally {
    await disk.close();
  }
}

async function fill(temporary: string, target: string, file: NewFile): Promise<void> {
  // Its lock keeps a second call with the same target away.
  const disk = await openFileDisk(temporary, "write");
  try {
    await disk.truncate(0);
    await file.fill(disk);
    // One of a file that is gone would keep the streams that follow away.
    await removeMark(target);
    await nameNewFile(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await disk.close();
  }
}

/** `rest`: what became of the target, where that is known. */
export const doesNotMakeIt = ({ name }: VerifiedStream, rest = ""): QcowalError =>
  new QcowalError("STREAM_INVALID", `${name} does not make what it says it makes.${rest}`);
