import { isZeros } from "../../image/index.ts";
import { type ByteRange, differingUnits } from "../diff/index.ts";
import type { GuestDisk } from "../guest-disk.ts";
import { CHUNK_BYTES, ContentDigest } from "./content-digest.ts";
import { type GuestChunk, digestOfChunk, guestChunks } from "./guest-chunks.ts";
import type { StreamEnd, StreamHeader } from "./stream-item.ts";
import { Chain, MAGIC, type Tag, encodeFrameHead } from "./wire.ts";

/** What is sent is exact to this many bytes: about what a guest's file system writes at a time. */
const SEND_UNIT = 4096;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

export interface StreamContent {
  /** What the receiver has; undefined for a full stream. */
  readonly from?: GuestDisk;
  readonly to: GuestDisk;
  /** All that may differ, ascending, as `diffSnapshots` finds it: outside of it `to` is not read. Default: all of the disk. */
  readonly changed?: AsyncIterable<ByteRange>;
}

export interface EncodeOptions {
  /** Called between pieces with the bytes of the disk that are behind; what it throws ends the stream. */
  readonly checkpoint?: (done: number, total: number) => void;
}

/**
 * A stream that makes `to` of `from`, or of nothing. All of `from` is read, to say
 * what the stream has to be applied to, and of `to` what changed: what holds the
 * same bytes in both is not sent, although it may be mapped differently.
 */
export async function* encodeStream(
  names: { readonly image: string; readonly from: StreamHeader["from"]; readonly to: StreamHeader["to"] },
  content: StreamContent,
  { checkpoint = () => undefined }: EncodeOptions = {},
): AsyncGenerator<Buffer> {
  const { from, to, changed } = content;
  const frames = new FrameWriter();
  const header: StreamHeader = {
    image: names.image,
    from: names.from === null ? null : { snapshot: names.from.snapshot, size: names.from.size },
    to: { snapshot: names.to.snapshot, size: names.to.size },
  };
  yield MAGIC;
  yield frames.json("head", header);

  const total = Math.max(from?.size ?? 0, to.size);
  const before = new Pieces(from);
  const after = new ChangedPieces(to, from === undefined ? undefined : changed);
  const fromDigest = from === undefined ? undefined : new ContentDigest(from.size);
  const toDigest = new ContentDigest(to.size);
  try {
    for (let offset = 0; offset < total; offset += CHUNK_BYTES) {
      checkpoint(offset, total);
      const one = await before.next();
      const oneDigest = one === undefined ? undefined : digestOfChunk(one);
      if (oneDigest !== undefined) fromDigest?.add(oneDigest);
      const length = Math.min(CHUNK_BYTES, to.size - offset);
      if (length <= 0) continue;
      const other = await after.at(offset, length, one);
      if (other === "same") {
        if (oneDigest !== undefined) toDigest.add(oneDigest);
        continue;
      }
      toDigest.add(digestOfChunk(other));
      yield* framesOf(frames, one, other);
    }
  } finally {
    await before.end();
    await after.end();
  }
  yield frames.json("end ", {
    records: frames.records,
    data: frames.data,
    zero: frames.zero,
    from: fromDigest?.finish() ?? null,
    to: toDigest.finish(),
  } satisfies StreamEnd);
  checkpoint(total, total);
}

/** What a piece holds that the one in its place did not: runs of data, and of zeros where there was data. */
function* framesOf(frames: FrameWriter, one: GuestChunk | undefined, other: GuestChunk): Generator<Buffer> {
  if (one?.bytes === undefined && other.bytes === undefined) return;
  const before = padded(one?.bytes, other.length);
  const after = other.bytes ?? ZEROS.subarray(0, other.length);
  for (const { offset, length } of differingUnits(before, after, SEND_UNIT, other.offset)) {
    let start = 0;
    let isZero: boolean | undefined;
    for (let at = 0; at < length; at += SEND_UNIT) {
      const begin = offset - other.offset + at;
      const unit = after.subarray(begin, begin + Math.min(SEND_UNIT, length - at));
      const now = isZeros(unit);
      if (isZero !== undefined && now !== isZero) {
        yield frames.run(offset + start, slice(after, offset - other.offset, start, at), isZero);
        start = at;
      }
      isZero = now;
    }
    if (isZero !== undefined) {
      yield frames.run(offset + start, slice(after, offset - other.offset, start, length), isZero);
    }
  }
}

const slice = (bytes: Buffer, base: number, start: number, end: number): Buffer =>
  bytes.subarray(base + start, base + end);

/** What the receiver has there: its disk may end before, and is grown by zeros. */
function padded(bytes: Buffer | undefined, length: number): Buffer {
  if (bytes === undefined) return ZEROS.subarray(0, length);
  if (bytes.length >= length) return bytes.subarray(0, length);
  return Buffer.concat([bytes], length);
}

/** The pieces of a disk, of which there may be none. */
class Pieces {
  readonly #chunks: AsyncGenerator<GuestChunk> | undefined;

  constructor(disk: GuestDisk | undefined) {
    this.#chunks = disk === undefined ? undefined : guestChunks(disk);
  }

  async next(): Promise<GuestChunk | undefined> {
    const chunk = await this.#chunks?.next();
    return chunk === undefined || chunk.done === true ? undefined : chunk.value;
  }

  async end(): Promise<void> {
    await this.#chunks?.return(undefined);
  }
}

/** The pieces of a disk, those read that a changed range touches. */
class ChangedPieces {
  readonly #disk: GuestDisk;
  readonly #all: Pieces;
  readonly #ranges: AsyncIterator<ByteRange> | undefined;
  #range: ByteRange | undefined;
  #ended = false;
  readonly #buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);

  constructor(disk: GuestDisk, ranges: AsyncIterable<ByteRange> | undefined) {
    this.#disk = disk;
    this.#ranges = ranges?.[Symbol.asyncIterator]();
    this.#all = new Pieces(ranges === undefined ? disk : undefined);
  }

  /** `before` is the piece of the other disk: nothing between the two differs where no range is. */
  async at(offset: number, length: number, before: GuestChunk | undefined): Promise<GuestChunk | "same"> {
    if (this.#ranges === undefined) {
      return (await this.#all.next()) ?? { offset, length, bytes: undefined };
    }
    if (!(await this.#touches(offset, offset + length)) && before?.length === length) return "same";
    const bytes = this.#buffer.subarray(0, length);
    await this.#disk.read(offset, bytes);
    return { offset, length, bytes: isZeros(bytes) ? undefined : bytes };
  }

  async end(): Promise<void> {
    await this.#all.end();
    if (!this.#ended) await this.#ranges?.return?.();
  }

  async #touches(start: number, end: number): Promise<boolean> {
    while (!this.#ended) {
      if (this.#range === undefined) {
        const next = await this.#ranges?.next();
        if (next === undefined || next.done === true) {
          this.#ended = true;
          return false;
        }
        this.#range = next.value;
      }
      if (this.#range.offset + this.#range.length > start) return this.#range.offset < end;
      this.#range = undefined;
    }
    return false;
  }
}

class FrameWriter {
  readonly #chain = new Chain();
  records = 0;
  data = 0;
  zero = 0;

  json(tag: Tag, value: object): Buffer {
    return this.#frame(tag, 0, 0, Buffer.from(JSON.stringify(value)));
  }

  run(offset: number, bytes: Buffer, isZero: boolean): Buffer {
    this.records += 1;
    if (isZero) this.zero += bytes.length;
    else this.data += bytes.length;
    return isZero
      ? this.#frame("zero", offset, bytes.length, Buffer.alloc(0))
      : this.#frame("data", offset, bytes.length, bytes);
  }

  #frame(tag: Tag, offset: number, length: number, payload: Buffer): Buffer {
    const head = encodeFrameHead({ tag, payload: payload.length, offset, length });
    return Buffer.concat([head, payload, this.#chain.next(head, payload)]);
  }
}
