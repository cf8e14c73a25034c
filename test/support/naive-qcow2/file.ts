/** Big-endian access to a file in memory; what lies beyond its end reads as zero, as QEMU reads it. */
export class FileBytes {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(offset: number): number {
    return this.bytes[offset] ?? 0;
  }

  u16(offset: number): number {
    return this.u8(offset) * 0x100 + this.u8(offset + 1);
  }

  u32(offset: number): number {
    return offset + 4 <= this.bytes.length
      ? this.#view.getUint32(offset)
      : this.u16(offset) * 0x10000 + this.u16(offset + 2);
  }

  u64(offset: number): bigint {
    return (BigInt(this.u32(offset)) << 32n) | BigInt(this.u32(offset + 4));
  }

  /** A 64-bit field that has to be an offset or a size; absurd values become Infinity, which no check accepts. */
  number64(offset: number): number {
    const value = this.u64(offset);
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : Infinity;
  }

  /** For reading: where the file has all of it, no copy. */
  slice(offset: number, length: number): Uint8Array {
    if (offset + length <= this.bytes.length) return this.bytes.subarray(offset, offset + length);
    const result = new Uint8Array(length);
    if (offset < this.bytes.length) result.set(this.bytes.subarray(offset, offset + length));
    return result;
  }

  text(offset: number, length: number): string {
    return new TextDecoder().decode(this.slice(offset, length));
  }

  hex(offset: number, length: number): string {
    return Buffer.from(this.slice(offset, length)).toString("hex");
  }
}
