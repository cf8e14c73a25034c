import type { FileHandle } from "node:fs/promises";
import { writeWhole } from "./new-output.ts";

const BYTES = 1024 * 1024;

/** Writes to a file, those behind each other at once. What is not flushed is not in the file. */
export class WriteBuffer {
  readonly #handle: FileHandle;
  readonly #bytes = Buffer.allocUnsafeSlow(BYTES);
  #offset = 0;
  #length = 0;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    const fits = offset === this.#offset + this.#length && this.#length + bytes.length <= BYTES;
    if (!fits) await this.flush();
    if (bytes.length > BYTES) {
      await writeWhole(this.#handle, bytes, offset);
      return;
    }
    if (this.#length === 0) this.#offset = offset;
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  async flush(): Promise<void> {
    const length = this.#length;
    this.#length = 0;
    if (length > 0) await writeWhole(this.#handle, this.#bytes.subarray(0, length), this.#offset);
  }
}
