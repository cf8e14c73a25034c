import { damagedIntent } from "./damaged.ts";

const LONGEST = 8;

/** Writes safe integers of any size, small ones in one byte: least significant 7 bits first, high bit for "more". */
export class NumberWriter {
  #bytes = new Uint8Array(256);
  #length = 0;

  number(value: number): void {
    this.#reserve(LONGEST);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) + 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** The next `length` bytes, all 0, for the caller to fill. */
  zeros(length: number): Uint8Array {
    this.#reserve(length);
    const from = this.#length;
    this.#length += length;
    return this.#bytes.subarray(from, this.#length);
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  #reserve(length: number): void {
    if (this.#length + length <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + length));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
}

/** Bytes that a number takes. */
export function sizeOfNumber(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size += 1;
  return size;
}

/** Reads them back. */
export class NumberReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** @throws QcowalError JOURNAL_DAMAGED when the number is cut off or not a safe integer */
  number(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw damagedIntent("a packed number is cut off or too large");
      value += (byte & 0x7f) * scale;
      if (!Number.isSafeInteger(value)) throw damagedIntent("a packed number is cut off or too large");
      if (byte < 0x80) return value;
    }
  }

  /** The next `length` bytes, not copied. @throws QcowalError JOURNAL_DAMAGED when they are cut off */
  bytes(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at)
      throw damagedIntent("a packed number is cut off or too large");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

export function packNumbers(values: Iterable<number>): Uint8Array {
  const writer = new NumberWriter();
  for (const value of values) writer.number(value);
  return writer.finish();
}

/** @throws QcowalError JOURNAL_DAMAGED when a number is cut off or not a safe integer */
export function unpackNumbers(bytes: Uint8Array): number[] {
  const reader = new NumberReader(bytes);
  const values: number[] = [];
  while (!reader.isAtEnd) values.push(reader.number());
  return values;
}
