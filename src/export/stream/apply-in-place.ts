import { type Disk, openFileDisk } from "../../disk/index.ts";
import { QcowalError, isQcowalError, reasonOf, withNothingChanged } from "../../errors/index.ts";
import { isZeros } from "../../image/index.ts";
import { CHUNK_BYTES } from "./content-digest.ts";
import {
  type ReceiveOptions,
  type ReceiveReport,
  type VerifiedStream,
  digestOfDisk,
  recordsOf,
  throwIfAborted,
  whereItStands,
} from "./receiving.ts";
import { markPath, readMark, removeMark, writeMark } from "./target-mark.ts";

/** Changes what is at `target` into what a stream leads to. */
export async function applyInPlace(
  target: string,
  stream: VerifiedStream,
  options: ReceiveOptions,
): Promise<ReceiveReport["result"]> {
  const disk = await openFileDisk(target, "write");
  try {
    const state = await stateOf(disk, target, stream, options);
    if (state !== "done") {
      throwIfAborted(options.signal);
      await change(disk, target, stream, options, state);
    }
    return RESULTS[state];
  } finally {
    await disk.close();
  }
}

/** What `applyInPlace` would do with what is there; writes nothing. */
export async function planInPlace(
  target: string,
  stream: VerifiedStream,
  options: ReceiveOptions,
): Promise<ReceiveReport["result"]> {
  const disk = await openFileDisk(target, "read");
  try {
    return RESULTS[await stateOf(disk, target, stream, options)];
  } finally {
    await disk.close();
  }
}

const RESULTS = { done: "unchanged", begun: "resumed", "at from": "applied" } as const;

/** Where the target stands. @throws QcowalError TARGET_MISMATCH where the stream has no business */
async function stateOf(
  disk: Disk,
  target: string,
  stream: VerifiedStream,
  options: ReceiveOptions,
): Promise<"at from" | "begun" | "done"> {
  try {
    const mark = await readMark(target);
    if (mark !== undefined) {
      if (mark.stream === stream.digest) return "begun";
      throw new QcowalError(
        "TARGET_MISMATCH",
        `${target} is between two states: another stream (SHA-256 ${mark.stream}) was being applied. Nothing was changed; receive that one again first, or, if the file was replaced by a whole one, remove ${markPath(target)}.`,
        { details: { stream: mark.stream } },
      );
    }
    const size = await disk.size();
    return await whereItStands(target, stream, size, () => digestOfDisk(disk, size, "compare", options));
  } catch (error) {
    throw withNothingChanged(error);
  }
}

async function change(
  disk: Disk,
  target: string,
  stream: VerifiedStream,
  options: ReceiveOptions,
  state: "at from" | "begun",
): Promise<void> {
  const { header, end } = stream;
  try {
    if (state === "at from") await writeMark(target, { stream: stream.digest, from: end.from ?? "" });
    if ((await disk.size()) < header.to.size) await disk.truncate(header.to.size);
    let done = 0;
    for await (const record of recordsOf(stream)) {
      throwIfAborted(options.signal);
      if (record.type === "data") await disk.write(record.offset, record.bytes);
      else await writeZeros(disk, record.offset, record.length);
      done += record.type === "data" ? record.bytes.length : record.length;
      options.onProgress?.("apply", done, end.data + end.zero);
    }
    if ((await disk.size()) > header.to.size) await disk.truncate(header.to.size);
    await disk.sync();
    const digest = await digestOfDisk(disk, header.to.size, "check", options);
    if (digest !== end.to) {
      throw new QcowalError(
        "TARGET_MISMATCH",
        `${target} does not hold what ${stream.name} leads to, although all of it was applied: somebody else has written to it.`,
        { details: { digest, toDigest: end.to } },
      );
    }
    await removeMark(target);
  } catch (error) {
    throw inBetween(error, target, stream.name);
  }
}

/** Gives the space back where the file system can; an older one, or one that only half can, gets zeros. */
async function writeZeros(disk: Disk, offset: number, length: number): Promise<void> {
  await disk.discard(offset, length);
  const piece = Buffer.allocUnsafe(Math.min(length, CHUNK_BYTES));
  for (let at = 0; at < length; at += piece.length) {
    const bytes = piece.subarray(0, Math.min(piece.length, length - at));
    await disk.read(offset + at, bytes);
    if (!isZeros(bytes)) await disk.write(offset + at, bytes.fill(0));
  }
}

/** Whatever failed: what the target holds now is neither state, and who reads the message must know. */
function inBetween(error: unknown, target: string, name: string): unknown {
  const code = isQcowalError(error) ? error.code : "IO_FAILED";
  const what = isQcowalError(error, "ABORTED") ? "Receiving was called off." : reasonOf(error);
  const cause = isQcowalError(error, "ABORTED") ? error.cause : error;
  return new QcowalError(
    code,
    `${what} ${target} is between two states now, and marked: receive the same stream (${name}) again, and it is finished.`,
    { cause, details: { path: target, ...(isQcowalError(error) ? error.details : {}) } },
  );
}
