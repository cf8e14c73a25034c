import type { ReceivedContent, ReceivedPiece, ReceivedRange, ReceivedRoot } from "../../plan/index.ts";
import type { ActiveGuest } from "../active-guest.ts";
import type { GuestDisk } from "../guest-disk.ts";
import { doesNotMakeIt } from "./make-new.ts";
import {
  type ReceiveOptions,
  type VerifiedStream,
  digestOfGuest,
  recordsOf,
  throwIfAborted,
} from "./receiving.ts";
import { RecordIndex } from "./record-index.ts";

/** What an image holds, with the records of a stream laid over it. */
export class ReceivedDisk implements ReceivedContent {
  readonly #stream: VerifiedStream;
  readonly #guest: ActiveGuest;
  readonly #before: GuestDisk;
  readonly #isDone: boolean;
  readonly #options: ReceiveOptions;
  readonly #index: RecordIndex;
  #read = 0;

  /** `isDone`: the image holds it already, and no record is needed. */
  constructor(stream: VerifiedStream, guest: ActiveGuest, isDone: boolean, options: ReceiveOptions) {
    this.#stream = stream;
    this.#guest = guest;
    this.#before = guest.disk();
    this.#isDone = isDone;
    this.#options = options;
    this.#index = new RecordIndex(stream, stream.name);
  }

  async *changes(): AsyncGenerator<ReceivedRange> {
    if (this.#isDone) return;
    for await (const record of recordsOf(this.#stream)) {
      throwIfAborted(this.#options.signal);
      this.#index.note(record.offset, record.position);
      const isZero = record.type === "zero";
      yield { offset: record.offset, length: isZero ? record.length : record.bytes.length, isZero };
    }
  }

  async read(pieces: readonly ReceivedPiece[], target: Uint8Array): Promise<void> {
    throwIfAborted(this.#options.signal);
    const cursor = this.#index.from(pieces[0]?.offset ?? 0);
    let at = 0;
    for (const { offset, length, isWhole } of pieces) {
      const part = target.subarray(at, at + length);
      at += length;
      const left = Math.min(length, Math.max(0, this.#stream.header.to.size - offset));
      const kept = isWhole ? 0 : Math.min(left, Math.max(0, this.#before.size - offset));
      part.fill(0);
      if (kept > 0) await this.#before.read(offset, part.subarray(0, kept));
      await cursor?.overlay(offset, part.subarray(0, left));
    }
    this.#tell(target.length);
  }

  /** All of it is read to be planned, and again to be written. */
  #tell(length: number): void {
    const { data } = this.#stream.end;
    this.#read += length / 2;
    this.#options.onProgress?.("apply", Math.min(data, Math.floor(this.#read)), data);
  }

  async verify({ offset, entries, size }: ReceivedRoot): Promise<void> {
    const after = this.#guest.disk({ l1: { offset, entries }, size });
    const digest = await digestOfGuest(after, "check", this.#options);
    if (digest !== this.#stream.end.to) throw doesNotMakeIt(this.#stream, " Nothing was changed.");
  }
}
