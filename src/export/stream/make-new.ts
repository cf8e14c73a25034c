import { open, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Disk, openFileDisk } from "../../disk/index.ts";
import { QcowalError, isQcowalError, reasonOf } from "../../errors/index.ts";
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
  try {
    if (await exists(target)) {
      await expectSame(target, stream, file);
      return "unchanged";
    }
    const temporary = join(dirname(target), `.${basename(target)}.qcowal-new`);
    // Not exclusive: what a killed call left is written anew.
    await (await open(temporary, "a", 0o600)).close();
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

export const doesNotMakeIt = ({ name }: VerifiedStream): QcowalError =>
  new QcowalError("STREAM_INVALID", `${name} does not make what it says it makes.`);
