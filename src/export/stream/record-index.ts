import { QcowalError } from "../../errors/index.ts";
import type { Spool } from "./spool.ts";
import { DIGEST_BYTES, FRAME_HEAD_BYTES, type FrameHead, decodeFrameHead } from "./wire.ts";

/** A place is noted for so many bytes of a stream: what lies before a record that is looked for is passed over. */
const STEP_BYTES = 1024 * 1024;
const WINDOW_BYTES = 256 * 1024;

/** Where the records of a stream are found that was gone through. */
export class RecordIndex {
  readonly #spool: Pick<Spool, "readAt">;
  readonly #name: string;
  /** On the disk, and in the stream; both ascend. */
  readonly #offsets: number[] = [];
  readonly #positions: number[] = [];

  constructor(spool: Pick<Spool, "readAt">, name: string) {
    this.#spool = spool;
    this.#name = name;
  }

  /** Records come in order: where each lies on the disk, and its frame in the stream. */
  note(offset: number, position: number): void {
    const last = this.#positions.at(-1);
    if (last !== undefined && position - last < STEP_BYTES) return;
    this.#offsets.push(offset);
    this.#positions.push(position);
  }

  /** Goes through the records from the one on that may hold `offset`. Undefined where nothing was noted. */
  from(offset: number): RecordCursor | undefined {
    let [low, high] = [0, this.#offsets.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#offsets[middle] ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    const position = this.#positions[Math.max(0, low - 1)];
    return position === undefined ? undefined : new RecordCursor(this.#spool, this.#name, position);
  }
}

/** Reads records one after the other. They were verified before, and what they lead to is verified behind. */
export class RecordCursor {
  readonly #spool: Pick<Spool, "readAt">;
  readonly #name: string;
  #position: number;
  #current: FrameHead | undefined;
  #window = Buffer.alloc(0);
  #start = 0;

  constructor(spool: Pick<Spool, "readAt">, name: string, position: number) {
    this.#spool = spool;
    this.#name = name;
    this.#position = position;
  }

  /** Lays what records hold of a range over `target`. Ranges ascend. */
  async overlay(offset: number, target: Uint8Array): Promise<void> {
    const end = offset + target.length;
    for (;;) {
      this.#current ??= decodeFrameHead(await this.#bytes(this.#position, FRAME_HEAD_BYTES));
      const { tag, payload, offset: first, length } = this.#current;
      if ((tag !== "data" && tag !== "zero") || first >= end) return;
      const from = Math.max(first, offset);
      const to = Math.min(first + length, end);
      if (to > from) {
        const part = target.subarray(from - offset, to - offset);
        if (tag === "zero") part.fill(0);
        else await this.#copy(this.#position + FRAME_HEAD_BYTES + from - first, part);
      }
      // The rest of it may be asked for next.
      if (first + length > end) return;
      this.#position += FRAME_HEAD_BYTES + payload + DIGEST_BYTES;
      this.#current = undefined;
    }
  }

  async #copy(position: number, target: Uint8Array): Promise<void> {
    if (target.length > WINDOW_BYTES / 2) await this.#read(position, target);
    else target.set(await this.#bytes(position, target.length));
  }

  /** Valid until more is asked for. */
  async #bytes(position: number, length: number): Promise<Buffer> {
    const isHeld = position >= this.#start && position + length <= this.#start + this.#window.length;
    if (!isHeld) {
      const window = Buffer.allocUnsafe(WINDOW_BYTES);
      const got = await this.#spool.readAt(position, window);
      this.#window = window.subarray(0, got);
      this.#start = position;
      if (got < length) throw this.#cutOff();
    }
    return this.#window.subarray(position - this.#start, position - this.#start + length);
  }

  async #read(position: number, target: Uint8Array): Promise<void> {
    if ((await this.#spool.readAt(position, target)) < target.length) throw this.#cutOff();
  }

  #cutOff(): QcowalError {
    return new QcowalError("STREAM_INVALID", `${this.#name} was cut off while it was being applied.`);
  }
}
