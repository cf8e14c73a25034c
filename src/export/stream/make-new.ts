import { open, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { openFileDisk } from "../../disk/index.ts";
import { QcowalError, isQcowalError, reasonOf } from "../../errors/index.ts";
import { nameNewFile } from "../new-file.ts";
import {
  type ReceiveOptions,
  type ReceiveReport,
  type VerifiedStream,
  digestOfDisk,
  recordsOf,
  throwIfAborted,
} from "./receiving.ts";
import { removeMark } from "./target-mark.ts";

/** Makes the file that a full stream describes. It has another name until it is whole. */
export async function makeNew(
  target: string,
  stream: VerifiedStream,
  options: ReceiveOptions,
): Promise<ReceiveReport["result"]> {
  try {
    if (await exists(target)) {
      await expectSame(target, stream, options);
      return "unchanged";
    }
    const temporary = join(dirname(target), `.${basename(target)}.qcowal-new`);
    // Not exclusive: what a killed call left is written anew.
    await (await open(temporary, "a", 0o600)).close();
    await fill(temporary, target, stream, options);
    return "created";
  } catch (error) {
    if (isQcowalError(error) && error.message.includes("Nothing was changed")) throw error;
    const code = isQcowalError(error) ? error.code : "IO_FAILED";
    throw new QcowalError(code, `${reasonOf(error)} Nothing was changed; ${target} was not made.`, {
      cause: error,
    });
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** A full stream replaces nothing; of one that was received before nothing is left to do. */
async function expectSame(
  target: string,
  { header, end, name }: VerifiedStream,
  options: ReceiveOptions,
): Promise<void> {
  const disk = await openFileDisk(target, "read");
  try {
    const size = await disk.size();
    if (size === header.to.size && (await digestOfDisk(disk, size, "compare", options)) === end.to) return;
  } finally {
    await disk.close();
  }
  throw new QcowalError(
    "TARGET_MISMATCH",
    `${target} exists, and ${name} is a full stream, which makes a new file. Nothing was changed; name another one, or remove it.`,
  );
}

async function fill(
  temporary: string,
  target: string,
  stream: VerifiedStream,
  options: ReceiveOptions,
): Promise<void> {
  const { header, end } = stream;
  // Its lock keeps a second call with the same target away.
  const disk = await openFileDisk(temporary, "write");
  try {
    await disk.truncate(0);
    await disk.truncate(header.to.size);
    let done = 0;
    for await (const record of recordsOf(stream)) {
      throwIfAborted(options.signal);
      if (record.type === "data") await disk.write(record.offset, record.bytes);
      done += record.type === "data" ? record.bytes.length : record.length;
      options.onProgress?.("apply", done, end.data + end.zero);
    }
    await disk.sync();
    const digest = await digestOfDisk(disk, header.to.size, "check", options);
    if (digest !== end.to) {
      throw new QcowalError("STREAM_INVALID", `${stream.name} does not make what it says it makes.`);
    }
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
