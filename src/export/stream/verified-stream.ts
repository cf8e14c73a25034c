import { createReadStream } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { QcowalError, invariant, isQcowalError, reasonOf } from "../../errors/index.ts";
import { decodeStream } from "./decode-stream.ts";
import { type ReceiveOptions, type VerifiedStream, throwIfAborted } from "./receiving.ts";
import { type Spool, SpoolWriter, openSpool } from "./spool.ts";
import type { StreamEnd, StreamHeader } from "./stream-item.ts";

/** Links are followed, so that the mark lies beside the file and a new one replaces no link. */
export async function resolvedTarget(target: string): Promise<string> {
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

/**
 * Reads all of a stream once, so that nothing of one that is damaged is used, and
 * hands it over. What cannot be read twice is kept beside the target meanwhile.
 * @throws QcowalError STREAM_INVALID, ABORTED, NO_SPACE, IO_FAILED
 */
export async function withVerified<Result>(
  target: string,
  source: string | AsyncIterable<Uint8Array>,
  options: ReceiveOptions,
  use: (stream: VerifiedStream) => Promise<Result>,
): Promise<Result> {
  const name = options.name ?? (typeof source === "string" ? source : "The stream");
  let spool: Spool | undefined;
  try {
    let stream: VerifiedStream;
    try {
      spool = typeof source === "string" ? await openSpool(source) : undefined;
      let bytes = spool?.read();
      let writer: SpoolWriter | undefined;
      if (bytes === undefined) {
        writer = await SpoolWriter.create(dirname(target));
        spool = writer.spool();
        bytes = bytesOf(source);
      }
      invariant(spool !== undefined, "a stream is kept nowhere");
      const { read, readAt } = spool;
      stream = { name, ...(await verify(bytes, name, writer, options)), read, readAt };
    } catch (error) {
      throw unchanged(error, name);
    }
    return await use(stream);
  } finally {
    await spool?.close();
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
