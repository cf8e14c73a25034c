import { MAX_STRING } from "./constants.ts";

/** What an option holds is not as the protocol wants it; the client is told. */
export class InvalidOption extends Error {
  override readonly name = "InvalidOption";
}

/** Reads the payload of an option from its beginning. Every method throws InvalidOption behind its end. */
export class OptionData {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  u16(): number {
    return this.#take(2).readUInt16BE();
  }

  u32(): number {
    return this.#take(4).readUInt32BE();
  }

  /** A string behind its length. */
  string(): string {
    return textOf(this.#take(this.u32()));
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new InvalidOption("it is longer than what it says");
  }

  #take(length: number): Buffer {
    if (length > this.#bytes.length - this.#at) throw new InvalidOption("it ends too early");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

/** @throws InvalidOption */
export function textOf(bytes: Buffer): string {
  if (bytes.length > MAX_STRING) throw new InvalidOption(`a string is longer than ${MAX_STRING} bytes`);
  if (bytes.includes(0)) throw new InvalidOption("a string has a NUL in it");
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new InvalidOption("a string is not UTF-8");
  }
}

export function u16Bytes(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2);
  for (const [index, value] of values.entries()) bytes.writeUInt16BE(value, index * 2);
  return bytes;
}

export function u32Bytes(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, index * 4);
  return bytes;
}

export function u64Bytes(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}
