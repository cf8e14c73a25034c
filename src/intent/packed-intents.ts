import { Packr } from "msgpackr/pack";
import { invariant } from "../errors/index.ts";
import { decodeIntent, encodeIntent } from "./codec.ts";
import { damagedIntent } from "./damaged.ts";
import type { Intent, IntentList } from "./intent.ts";
import { positionOf } from "./position.ts";

const packr = new Packr({ useRecords: false, int64AsType: "number", moreTypes: false });

/** Of the length before each intent. */
const LENGTH_BYTES = 4;
const SMALLEST_CHUNK = 4096;
const LARGEST_CHUNK = 2 ** 20;

/** More than a chunk has: number of the chunk and offset in it are told by one number. */
const CHUNK_SPAN = 2 ** 32;

/** Numbers in an array that grows. */
class Numbers {
  #values = new Float64Array(16);
  length = 0;

  push(value: number): void {
    if (this.length === this.#values.length) {
      const grown = new Float64Array(this.length * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.length++] = value;
  }

  at(index: number): number {
    return this.#values[index] ?? 0;
  }
}

/**
 * Intents as the journal will hold them, which go on in the order of their
 * places in the file, in whatever order they came. A plan for a fragmented image
 * has tens of millions of runs: as objects they take a hundred times as much.
 */
export class PackedIntents implements IntentList {
  readonly #chunks: Uint8Array[] = [];
  /** Bytes used of the last chunk. */
  #used = 0;
  readonly #positions = new Numbers();
  /** Where each intent is: chunk and offset. */
  readonly #places = new Numbers();
  #isInOrder = true;

  /** All intents of several lists. Those that are packed already are taken over as they are. */
  static of(...lists: readonly Iterable<Intent>[]): PackedIntents {
    const result = new PackedIntents();
    for (const list of lists) {
      if (list instanceof PackedIntents) result.#take(list);
      else for (const intent of list) result.push(intent);
    }
    return result;
  }

  get length(): number {
    return this.#places.length;
  }

  /** Long contents do not come back: they are not packed, the journal has only their digest. */
  push(intent: Intent): void {
    const bytes = packr.pack(encodeIntent(intent));
    const length = LENGTH_BYTES + bytes.length;
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || this.#used + length > chunk.length) {
      const size = Math.min(LARGEST_CHUNK, Math.max(SMALLEST_CHUNK, (chunk?.length ?? 0) * 2));
      chunk = Buffer.allocUnsafeSlow(Math.max(size, length));
      this.#chunks.push(chunk);
      this.#used = 0;
    }
    new DataView(chunk.buffer).setUint32(this.#used, bytes.length);
    chunk.set(bytes, this.#used + LENGTH_BYTES);
    this.#note(positionOf(intent), this.#chunks.length - 1, this.#used);
    this.#used += length;
  }

  *[Symbol.iterator](): Generator<Intent> {
    for (const framed of this.#framed()) yield unpack(framed.subarray(LENGTH_BYTES));
  }

  /** The same in pieces of `size` bytes or a little more, as `UnpackedIntents` reads them. */
  *pieces(size: number): Generator<Uint8Array> {
    let piece: Uint8Array[] = [];
    let length = 0;
    for (const framed of this.#framed()) {
      piece.push(framed);
      length += framed.length;
      if (length < size) continue;
      yield Buffer.concat(piece);
      piece = [];
      length = 0;
    }
    if (length > 0) yield Buffer.concat(piece);
  }

  /** A plan is plain data, also as JSON. */
  toJSON(): Intent[] {
    return [...this];
  }

  *#framed(): Generator<Uint8Array> {
    const order = this.#isInOrder ? undefined : this.#order();
    for (let index = 0; index < this.length; index += 1) {
      const place = this.#places.at(order?.[index] ?? index);
      const chunk = this.#chunks[Math.floor(place / CHUNK_SPAN)];
      invariant(chunk !== undefined, "a packed intent is nowhere");
      const offset = place % CHUNK_SPAN;
      yield chunk.subarray(offset, offset + LENGTH_BYTES + lengthAt(chunk, offset));
    }
  }

  /** Those of the same place stay in the order in which they came. */
  #order(): Uint32Array {
    const order = new Uint32Array(this.length).map((_, index) => index);
    return order.toSorted((a, b) => this.#positions.at(a) - this.#positions.at(b) || a - b);
  }

  #note(position: number, chunk: number, offset: number): void {
    const { length } = this.#positions;
    if (length > 0 && position < this.#positions.at(length - 1)) this.#isInOrder = false;
    this.#positions.push(position);
    this.#places.push(chunk * CHUNK_SPAN + offset);
  }

  #take(other: PackedIntents): void {
    const base = this.#chunks.length;
    for (let index = 0; index < other.length; index += 1) {
      const place = other.#places.at(index);
      this.#note(other.#positions.at(index), base + Math.floor(place / CHUNK_SPAN), place % CHUNK_SPAN);
    }
    if (other.#chunks.length === 0) return;
    this.#chunks.push(...other.#chunks);
    // The other may go on filling its last chunk.
    this.#used = Number.POSITIVE_INFINITY;
  }
}

/** Intents of a piece, unpacked one by one as they are asked for. */
class UnpackedIntents implements IntentList {
  readonly length: number;
  readonly #piece: Uint8Array;

  constructor(piece: Uint8Array) {
    let length = 0;
    for (const _ of frames(piece)) length += 1;
    this.length = length;
    this.#piece = piece;
  }

  *[Symbol.iterator](): Generator<Intent> {
    for (const bytes of frames(this.#piece)) yield unpack(bytes);
  }
}

/**
 * What `pieces` made. Going through them may throw as well, where an intent is malformed.
 * @throws QcowalError JOURNAL_DAMAGED
 */
export function unpackIntents(piece: Uint8Array): IntentList {
  return new UnpackedIntents(piece);
}

function* frames(piece: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < piece.length;) {
    const from = at + LENGTH_BYTES;
    if (from > piece.length) throw damagedIntent("its length is cut off");
    at = from + lengthAt(piece, at);
    if (at > piece.length) throw damagedIntent("it is cut off");
    yield piece.subarray(from, at);
  }
}

const lengthAt = (bytes: Uint8Array, at: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);

function unpack(bytes: Uint8Array): Intent {
  let value: unknown;
  try {
    value = packr.unpack(bytes);
  } catch {
    throw damagedIntent("it is not MessagePack");
  }
  return decodeIntent(value);
}
