/**
 * Applies a stream to a raw file. All of a stream is verified before the first
 * byte of a target changes, and each frame again before it is used.
 *
 * A full stream makes a new file, which gets its name when all of it is there and
 * verified. An incremental one changes the target in place, because a copy of a
 * large disk costs more than the change: a mark beside it, durable before the
 * first write, names the stream, so that after a crash the same stream goes on
 * from whatever the crash has left (each record says what is to be there, not what
 * was) and every other one is refused.
 */
import { createReadStream } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { QcowalError, isQcowalError, reasonOf } from "../../errors/index.ts";
import { applyInPlace } from "./apply-in-place.ts";
import { decodeStream } from "./decode-stream.ts";
import { makeNew } from "./make-new.ts";
import { type ReceiveOptions, type ReceiveReport, type VerifiedStream, throwIfAborted } from "./receiving.ts";
import { SpoolWriter, openSpool } from "./spool.ts";
import type { StreamEnd, StreamHeader } from "./stream-item.ts";

/**
 * Makes `target`, a raw file, hold what a stream leads to: a new file for a full
 * stream, else the file that holds what the stream begins with. `source` is a path
 * or the bytes; what cannot be read twice is kept in a nameless file beside the
 * target meanwhile. No other process may use
 * the target; a qemu that does is respected.
 *
 * May be killed and called again with the same stream, and does nothing when all
 * was done before.
 *
 * @throws QcowalError STREAM_INVALID and TARGET_MISMATCH before the target is touched; IMAGE_NOT_FOUND,
 * IMAGE_IN_USE, IMAGE_UNSUPPORTED (a target that is no regular file), ABORTED, NO_SPACE, IO_FAILED
 */
export async function receiveStream(
  target: string,
  source: string | AsyncIterable<Uint8Array>,
  options: ReceiveOptions = {},
): Promise<ReceiveReport> {
  const path = await resolvedTarget(target);
  const { read, close, ...stream } = await verified(path, source, options);
  try {
    const whole: VerifiedStream = { ...stream, read };
    const result =
      stream.header.from === null
        ? await makeNew(path, whole, options)
        : await applyInPlace(path, whole, options);
    const { records, data, zero, to } = stream.end;
    return { target: path, ...stream.header, records, data, zero, digest: to, result };
  } finally {
    await close();
  }
}

/** Links are followed, so that the mark lies beside the file and a new one replaces no link. */
async function resolvedTarget(target: string): Promise<string> {
  const found = await realpath(target).catch(() => undefined);
  if (found !== undefined) {
    if (!(await stat(found)).isFile()) {
      throw new QcowalError("IMAGE_UNSUPPORTED", `${target} is not a regular file. Nothing was changed.`);
    }
    return found;
  }
  try {
    return join(await realpath(dirname(target)), basename(target));
  } catch (cause) {
    throw new QcowalError("IMAGE_NOT_FOUND", `${dirname(target)}: no such directory. Nothing was changed.`, {
      cause,
    });
  }
}

/** Reads all of a stream once, so that nothing of one that is damaged is used. */
async function verified(
  target: string,
  source: string | AsyncIterable<Uint8Array>,
  options: ReceiveOptions,
): Promise<VerifiedStream & { readonly close: () => Promise<void> }> {
  const name = options.name ?? (typeof source === "string" ? source : "The stream");
  try {
    const file = typeof source === "string" ? await openSpool(source) : undefined;
    const writer = file === undefined ? await SpoolWriter.create(dirname(target)) : undefined;
    const close = async (): Promise<void> => {
      await file?.close();
      await writer?.close();
    };
    try {
      const read = (): AsyncIterable<Uint8Array> => (file ?? writer)?.read() ?? bytesOf(source);
      const found = await verify(file === undefined ? bytesOf(source) : read(), name, writer, options);
      return { name, ...found, read, close };
    } catch (error) {
      await close();
      throw error;
    }
  } catch (error) {
    throw unchanged(error, name);
  }
}

const bytesOf = (source: string | AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> =>
  typeof source === "string" ? createReadStream(source) : source;

async function verify(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
  writer: SpoolWriter | undefined,
  options: ReceiveOptions,
): Promise<{ readonly header: StreamHeader; readonly end: StreamEnd; readonly digest: string }> {
  let header: StreamHeader | undefined;
  let done = 0;
  for await (const item of decodeStream(bytes, name)) {
    throwIfAborted(options.signal);
    await writer?.append(item.frame);
    for (const part of item.frame) done += part.length;
    options.onProgress?.("verify", done);
    if (item.type === "header") header = item.header;
    if (item.type === "end" && header !== undefined) {
      return { header, end: item.end, digest: item.digest };
    }
  }
  throw new QcowalError("STREAM_INVALID", `${name} has no end.`);
}

/** Until here nothing was written to the target, whatever failed. */
function unchanged(error: unknown, name: string): unknown {
  if (error instanceof TypeError || (isQcowalError(error) && error.message.includes("Nothing was changed"))) {
    return error;
  }
  const code = isQcowalError(error) ? error.code : "IO_FAILED";
  const what = isQcowalError(error) ? reasonOf(error) : `${name} cannot be read or kept: ${reasonOf(error)}`;
  return new QcowalError(code, `${what} Nothing was changed.`, {
    cause: error,
    ...(isQcowalError(error) ? { details: error.details } : {}),
  });
}
