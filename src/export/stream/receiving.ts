import type { Disk } from "../../disk/index.ts";
import { QcowalError, throwIfAborted as throwWith } from "../../errors/index.ts";
import type { Extent, GuestDisk } from "../guest-disk.ts";
import { decodeStream } from "./decode-stream.ts";
import { contentDigest } from "./guest-chunks.ts";
import type { Spool } from "./spool.ts";
import type { StreamEnd, StreamHeader, StreamItem } from "./stream-item.ts";

export type ReceivePhase =
  /** The stream is read and verified; `done` are its bytes. */
  | "verify"
  /** What the target holds is compared with what the stream begins with. */
  | "compare"
  /** The target is being changed, or the new file written. */
  | "apply"
  /** What is there now is compared with what the stream ends with. */
  | "check";

export interface ReceiveOptions {
  /** Ends it with ABORTED. A target that is being changed stays marked, and the same stream can go on. */
  readonly signal?: AbortSignal;
  /** Bytes that are done; `total` where it is known. */
  readonly onProgress?: (phase: ReceivePhase, done: number, total?: number) => void;
  /** Say what would be done: all is verified that can be without writing, and the target is only read. */
  readonly dryRun?: boolean;
  /** What the stream is called in messages. Default: its path, else "the stream". */
  readonly name?: string;
}

export interface ReceiveReport extends StreamHeader {
  /** True: `result` is what it would be. */
  readonly dryRun: boolean;
  /** Path of the target with links resolved. */
  readonly target: string;
  /** Bytes of data, and of zeros, that the stream brought, and in how many records. */
  readonly data: number;
  readonly zero: number;
  readonly records: number;
  /** SHA-256 of what the target holds, or would, as the stream says it: see the README. */
  readonly digest: string;
  /**
   * `unchanged`: the target held already what the stream leads to. `resumed`: an
   * earlier call with the same stream had been interrupted.
   */
  readonly result: "created" | "applied" | "resumed" | "unchanged";
}

/** A verified stream and all that is known of it. */
export interface VerifiedStream {
  readonly name: string;
  readonly header: StreamHeader;
  readonly end: StreamEnd;
  /** Its identity. */
  readonly digest: string;
  readonly read: Spool["read"];
  readonly readAt: Spool["readAt"];
}

/** What was done with a stream. */
export function reportOf(
  target: string,
  { header, end }: VerifiedStream,
  result: ReceiveReport["result"],
  dryRun = false,
): ReceiveReport {
  const { records, data, zero, to } = end;
  return { dryRun, target, ...header, records, data, zero, digest: to, result };
}

/**
 * Where a target of `size` bytes stands; `digestOf` reads all of it, and is asked only where that can decide.
 * @throws QcowalError TARGET_MISMATCH where the stream has no business
 */
export async function whereItStands(
  target: string,
  stream: VerifiedStream,
  size: number,
  digestOf: () => Promise<string>,
): Promise<"at from" | "done"> {
  const { header, end } = stream;
  const { from, to } = header;
  const mayFit = size === from?.size || size === to.size;
  const digest = mayFit ? await digestOf() : undefined;
  if (digest === end.to && size === to.size) return "done";
  if (from === null) throw existsAlready(target, stream);
  if (digest === end.from && size === from.size) return "at from";
  const has = digest === undefined ? `is ${size} bytes large` : `holds something else`;
  const label = from.snapshot?.name;
  const wanted = label === undefined ? "another state" : `snapshot ${JSON.stringify(label)}`;
  throw new QcowalError(
    "TARGET_MISMATCH",
    `${target} ${has}: ${stream.name} has to be applied to a copy that stands at ${wanted} of ${header.image} (${from.size} bytes). Nothing was changed; receive the streams in between first, or a full one.`,
    { details: { size, digest, from, fromDigest: end.from } },
  );
}

/** A full stream replaces nothing. */
const existsAlready = (target: string, { name }: VerifiedStream): QcowalError =>
  new QcowalError(
    "TARGET_MISMATCH",
    `${target} exists, and ${name} is a full stream, which makes a new file. Nothing was changed; name another one, or remove it.`,
  );

/** @throws QcowalError ABORTED */
export const throwIfAborted = (signal: AbortSignal | undefined): void =>
  throwWith(signal, "Receiving was called off. Nothing was changed.");

/** The digest of what a disk holds. */
export const digestOfGuest = (
  guest: GuestDisk,
  phase: ReceivePhase,
  { signal, onProgress }: ReceiveOptions,
): Promise<string> =>
  contentDigest(guest, (done) => {
    throwIfAborted(signal);
    onProgress?.(phase, done, guest.size);
  });

/** The same of a raw file. */
export const digestOfDisk = (
  disk: Disk,
  size: number,
  phase: ReceivePhase,
  options: ReceiveOptions,
): Promise<string> => digestOfGuest(new RawGuest(disk, size), phase, options);

/** A raw file as a guest sees it. */
class RawGuest implements GuestDisk {
  readonly #disk: Disk;
  readonly size: number;

  constructor(disk: Disk, size: number) {
    this.#disk = disk;
    this.size = size;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#disk.read(offset, target);
  }

  async *extents(offset: number, length: number): AsyncIterable<Extent> {
    if (length > 0)
      yield await Promise.resolve({ offset, length, kind: "data", depth: 0, hostOffset: offset });
  }

  async close(): Promise<void> {
    await this.#disk.close();
  }
}

/** The records of a stream that was verified, with their places in it, verified again: whoever keeps the file may have changed it. */
export async function* recordsOf(
  stream: VerifiedStream,
): AsyncGenerator<Extract<StreamItem, { type: "data" | "zero" }> & { readonly position: number }> {
  let position = 0;
  for await (const item of decodeStream(stream.read(), stream.name)) {
    if (item.type === "data" || item.type === "zero") yield { ...item, position };
    for (const part of item.frame) position += part.length;
    if (item.type === "end" && item.digest !== stream.digest) {
      throw new QcowalError("STREAM_INVALID", `${stream.name} was replaced while it was being applied.`);
    }
  }
}
