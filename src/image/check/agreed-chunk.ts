import type { RefcountArray } from "../../format/index.ts";

/**
 * The clusters that were compared last and found to agree. A disk that was written
 * in order has thousands of chunks that are like it: comparing bytes costs a tenth
 * of comparing counts.
 */
export class AgreedChunk {
  #packed = Buffer.alloc(0);
  #refcounts = Buffer.alloc(0);
  #highest = -1;

  /** The last entry that is used, where these are the same; undefined where they differ. */
  find(
    packed: Uint8Array,
    at: number,
    refcounts: RefcountArray,
    from: number,
    length: number,
  ): number | undefined {
    if (length !== this.#packed.length) return undefined;
    const isSame =
      bytesOf(packed, at, length).equals(this.#packed) &&
      bytesOf(refcounts, from, length).equals(this.#refcounts);
    return isSame ? this.#highest : undefined;
  }

  note(
    packed: Uint8Array,
    at: number,
    refcounts: RefcountArray,
    from: number,
    length: number,
    highest: number,
  ): void {
    this.#packed = copied(bytesOf(packed, at, length), this.#packed);
    this.#refcounts = copied(bytesOf(refcounts, from, length), this.#refcounts);
    this.#highest = highest;
  }
}

function bytesOf(values: RefcountArray, from: number, length: number): Buffer {
  const size = values.BYTES_PER_ELEMENT;
  return Buffer.from(values.buffer, values.byteOffset + from * size, length * size);
}

function copied(bytes: Buffer, into: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
  const target = into.length === bytes.length ? into : Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(target);
  return target;
}
