import { QcowalError } from "../../errors/index.ts";
import type { StreamEnd, StreamHeader, StreamItem, StreamSide } from "./stream-item.ts";
import {
  Chain,
  DIGEST_BYTES,
  FRAME_HEAD_BYTES,
  type FrameHead,
  MAGIC,
  MAX_DATA_BYTES,
  MAX_JSON_BYTES,
  decodeFrameHead,
} from "./wire.ts";

/**
 * The frames of a stream, each handed out when it is verified; the last one when
 * nothing follows it. Whoever has got the end has a whole stream, as it was made.
 * Holds one frame.
 *
 * @param name of the stream, for messages
 * @throws QcowalError STREAM_INVALID naming the byte where the damaged frame begins
 */
export async function* decodeStream(
  source: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<StreamItem> {
  const bytes = new ByteQueue(source);
  try {
    const frames = new FrameReader(bytes, name);
    yield await frames.header();
    for (;;) {
      const item = await frames.next();
      yield item;
      if (item.type === "end") return;
    }
  } finally {
    await bytes.end();
  }
}

class FrameReader {
  readonly #bytes: ByteQueue;
  readonly #name: string;
  readonly #chain = new Chain();
  #at = 0;
  #header: StreamHeader | undefined;
  /** Behind the last record, on the disk. */
  #reached = 0;
  #records = 0;
  #data = 0;
  #zero = 0;

  constructor(bytes: ByteQueue, name: string) {
    this.#bytes = bytes;
    this.#name = name;
  }

  async header(): Promise<StreamItem> {
    const magic = await this.#bytes.take(MAGIC.length);
    if (magic === undefined || !magic.equals(MAGIC)) {
      throw this.#invalid("is no stream of qcowal, or one of another version");
    }
    this.#at = MAGIC.length;
    const { head, payload, frame } = await this.#frame();
    if (head.tag !== "head") throw this.#invalid("begins with no header");
    this.#header = headerOf(this.#json(payload)) ?? this.#fail("has a header that makes no sense");
    return { type: "header", header: this.#header, frame: [magic, ...frame] };
  }

  async next(): Promise<StreamItem> {
    const start = this.#at;
    const { head, payload, frame } = await this.#frame();
    switch (head.tag) {
      case "data":
        this.#record(head, start);
        this.#data += head.length;
        return { type: "data", offset: head.offset, bytes: payload, frame };
      case "zero":
        this.#record(head, start);
        this.#zero += head.length;
        return { type: "zero", offset: head.offset, length: head.length, frame };
      case "end ":
        return this.#end(payload, frame);
      default:
        throw this.#invalid("has a frame of an unknown kind", start);
    }
  }

  #record({ tag, payload, offset, length }: FrameHead, start: number): void {
    const size = this.#header?.to.size ?? 0;
    const isSound =
      length > 0 &&
      offset >= this.#reached &&
      offset + length <= size &&
      payload === (tag === "data" ? length : 0);
    if (!isSound) throw this.#invalid("has a record that makes no sense", start);
    this.#reached = offset + length;
    this.#records += 1;
  }

  async #end(payload: Buffer, frame: readonly Buffer[]): Promise<StreamItem> {
    const end = endOf(this.#json(payload), this.#header);
    const isCounted = end?.records === this.#records && end.data === this.#data && end.zero === this.#zero;
    if (end === undefined || !isCounted)
      throw this.#invalid("has an end that does not count what came before");
    if ((await this.#bytes.take(1)) !== undefined) throw this.#invalid("goes on behind its end");
    return { type: "end", end, digest: this.#chain.digest.toString("hex"), frame };
  }

  async #frame(): Promise<{
    readonly head: FrameHead;
    readonly payload: Buffer;
    readonly frame: readonly Buffer[];
  }> {
    const start = this.#at;
    const bytes = await this.#take(FRAME_HEAD_BYTES, start);
    const head = decodeFrameHead(bytes);
    // A length that was flipped must not make us hold what follows.
    if (head.payload > (head.tag === "data" ? MAX_DATA_BYTES : MAX_JSON_BYTES)) throw this.#damaged(start);
    const payload = await this.#take(head.payload, start);
    const digest = await this.#take(DIGEST_BYTES, start);
    if (!this.#chain.next(bytes, payload).equals(digest)) throw this.#damaged(start);
    return { head, payload, frame: [bytes, payload, digest] };
  }

  async #take(length: number, start: number): Promise<Buffer> {
    const bytes = await this.#bytes.take(length);
    if (bytes === undefined) throw this.#invalid("ends too early", start);
    this.#at += length;
    return bytes;
  }

  #json(payload: Buffer): unknown {
    try {
      return JSON.parse(payload.toString());
    } catch {
      return undefined;
    }
  }

  #damaged(start: number): QcowalError {
    return this.#invalid("is damaged: a digest does not fit", start);
  }

  #fail(what: string): never {
    throw this.#invalid(what);
  }

  #invalid(what: string, at = this.#at): QcowalError {
    return new QcowalError(
      "STREAM_INVALID",
      `${this.#name} ${what} (at byte ${at}, record ${this.#records + 1}).`,
      {
        details: { at },
      },
    );
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null;

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

const isDigest = (value: unknown): value is string =>
  typeof value === "string" && /^[0-9a-f]{64}$/.test(value);

function headerOf(value: unknown): StreamHeader | undefined {
  if (!isObject(value) || typeof value["image"] !== "string") return undefined;
  const to = sideOf(value["to"]);
  const from = value["from"] === null ? null : sideOf(value["from"]);
  return to === undefined || from === undefined ? undefined : { image: value["image"], from, to };
}

function sideOf(value: unknown): StreamSide | undefined {
  if (!isObject(value)) return undefined;
  const { snapshot, size } = value;
  if (!isCount(size)) return undefined;
  if (snapshot === null) return { snapshot, size };
  if (!isObject(snapshot)) return undefined;
  const { id, name } = snapshot;
  return typeof id === "string" && typeof name === "string" ? { snapshot: { id, name }, size } : undefined;
}

function endOf(value: unknown, header: StreamHeader | undefined): StreamEnd | undefined {
  if (!isObject(value)) return undefined;
  const { records, data, zero, from, to } = value;
  if (!isCount(records) || !isCount(data) || !isCount(zero) || !isDigest(to)) return undefined;
  const isFull = header?.from === null;
  if (isFull ? from !== null : !isDigest(from)) return undefined;
  return { records, data, zero, from: isFull ? null : String(from), to };
}

/** Bytes that come in pieces of any size. */
class ByteQueue {
  readonly #source: AsyncIterator<Uint8Array>;
  #pieces: Uint8Array[] = [];
  #length = 0;
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next bytes, in a buffer of their own; undefined when there are fewer. */
  async take(length: number): Promise<Buffer | undefined> {
    while (this.#length < length) {
      const next = await this.#source.next();
      if (next.done === true) {
        this.#ended = true;
        return undefined;
      }
      this.#pieces.push(next.value);
      this.#length += next.value.length;
    }
    const result = Buffer.allocUnsafeSlow(length);
    let done = 0;
    let used = 0;
    for (const piece of this.#pieces) {
      if (done === length) break;
      const part = piece.subarray(0, length - done);
      result.set(part, done);
      done += part.length;
      if (part.length < piece.length) this.#pieces[used] = piece.subarray(part.length);
      else used += 1;
    }
    this.#pieces = this.#pieces.slice(used);
    this.#length -= length;
    return result;
  }

  async end(): Promise<void> {
    if (!this.#ended) await this.#source.return?.();
  }
}
