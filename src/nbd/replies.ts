import { CHUNK_DONE, Chunk, Errno, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC } from "./constants.ts";
import type { Status } from "./meta-contexts.ts";
import { u16Bytes, u32Bytes, u64Bytes } from "./option-data.ts";
import type { Request, RequestError } from "./requests.ts";

export function simpleReply({ cookie }: Request, errno = 0): Buffer {
  return Buffer.concat([u32Bytes(SIMPLE_REPLY_MAGIC, errno), cookie]);
}

/** The header of a chunk with a payload of that many bytes. */
export function chunkHeader({ cookie }: Request, type: number, length: number, done: boolean): Buffer {
  const bytes = Buffer.alloc(20);
  bytes.writeUInt32BE(STRUCTURED_REPLY_MAGIC, 0);
  bytes.writeUInt16BE(done ? CHUNK_DONE : 0, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.set(cookie, 8);
  bytes.writeUInt32BE(length, 16);
  return bytes;
}

/** What comes before the content of a data chunk. */
export function dataChunkHeader(request: Request, offset: number, length: number, done: boolean): Buffer {
  return Buffer.concat([chunkHeader(request, Chunk.offsetData, 8 + length, done), u64Bytes(offset)]);
}

export function holeChunk(request: Request, offset: number, length: number, done: boolean): Buffer {
  const header = chunkHeader(request, Chunk.offsetHole, 12, done);
  return Buffer.concat([header, u64Bytes(offset), u32Bytes(length)]);
}

export function statusChunk(
  request: Request,
  context: number,
  statuses: readonly Status[],
  done: boolean,
): Buffer {
  const header = chunkHeader(request, Chunk.blockStatus, 4 + statuses.length * 8, done);
  const descriptors = statuses.map(({ length, flags }) => u32Bytes(length, flags));
  return Buffer.concat([header, u32Bytes(context), ...descriptors]);
}

export function successReply(request: Request, structured: boolean): Buffer {
  return structured ? chunkHeader(request, Chunk.none, 0, true) : simpleReply(request);
}

/** With structured replies an error may come after parts of the content. */
export function errorReply(request: Request, { errno, message }: RequestError, structured: boolean): Buffer {
  if (!structured) {
    // Simple replies know no EOVERFLOW.
    return simpleReply(request, errno === Errno.EOVERFLOW ? Errno.EINVAL : errno);
  }
  const text = Buffer.from(message);
  const header = chunkHeader(request, Chunk.error, 6 + text.length, true);
  return Buffer.concat([header, u32Bytes(errno), u16Bytes(text.length), text]);
}
