import type { Readable } from "node:stream";
import { Disconnected } from "./client-error.ts";

const SKIP_BYTES = 64 * 1024;

/** Takes a stream's bytes as they are asked for. What nobody asks for stays in the socket, and slows the sender. */
export class ByteReader {
  readonly #stream: Readable;
  #over = false;
  #wake: () => void = () => undefined;

  constructor(stream: Readable) {
    this.#stream = stream;
    stream.on("readable", this.#onReadable);
    stream.on("end", this.#onOver);
    stream.on("close", this.#onOver);
  }

  readonly #onReadable = (): void => this.#wake();
  readonly #onOver = (): void => {
    this.#over = true;
    this.#wake();
  };

  /** Leaves the stream to another reader. */
  detach(): void {
    this.#stream.off("readable", this.#onReadable);
    this.#stream.off("end", this.#onOver);
    this.#stream.off("close", this.#onOver);
  }

  /** Ends a read that waits, as if the client had gone, while replies can still be sent. */
  stop(): void {
    this.#onOver();
  }

  /**
   * Exactly `length` bytes; one reader at a time.
   * @throws Disconnected when the stream ends before that
   */
  async read(length: number): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    for (;;) {
      if (this.#over) throw new Disconnected();
      const bytes = this.#stream.read(length) as Buffer | null;
      // At the end of a stream the rest is handed out, however short.
      if (bytes !== null && bytes.length < length) throw new Disconnected();
      if (bytes !== null) return bytes;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; left -= SKIP_BYTES) await this.read(Math.min(left, SKIP_BYTES));
  }
}
