import { createHash } from "node:crypto";
import { type Disk, giveSpare, takeSpare } from "../disk/index.ts";
import { QcowalError } from "../errors/index.ts";
import { type Inspection, type Reader, foreign } from "./inspection.ts";
import type { FillIntent } from "./intent.ts";

/** Long contents are compared and written in pieces, so that a 32 MiB L1 table needs no second copy. */
const PIECE_BYTES = 1024 * 1024;

/** Makes the contents of a fill in a buffer of zeros. */
type Writer = (zeros: Uint8Array) => void;

/** Of fills whose contents are made anew each time. */
const WRITERS = new WeakMap<FillIntent, Writer>();

/** Reads the contents of a fill into a buffer of their length, whatever is in it. */
export type FillSource = (target: Uint8Array) => Promise<void>;

/** Of fills whose contents are read where they come from. */
const SOURCES = new WeakMap<FillIntent, FillSource>();

export function fill(offset: number, bytes: Uint8Array): FillIntent {
  const digest = createHash("sha256").update(bytes).digest();
  return { kind: "fill", offset, length: bytes.length, digest, bytes };
}

/**
 * The same for contents that are made anew each time they are asked for: a plan
 * may have more of them than fits in memory. `write` gets zeros; the first time
 * in `scratch`, which has their length.
 */
export function fillOf(offset: number, scratch: Uint8Array, write: Writer): FillIntent {
  write(scratch.fill(0));
  const { digest, length } = fill(offset, scratch);
  const intent: FillIntent = {
    kind: "fill",
    offset,
    length,
    digest,
    get bytes() {
      const bytes = new Uint8Array(length);
      write(bytes);
      return bytes;
    },
  };
  WRITERS.set(intent, write);
  return intent;
}

/**
 * The same for contents that are read anew when they are written: they are guest
 * data, of which there may be more than any memory holds. The journal never gets
 * more of them than the digest.
 */
export async function fillFrom(offset: number, scratch: Uint8Array, read: FillSource): Promise<FillIntent> {
  await read(scratch);
  const digest = createHash("sha256").update(scratch).digest();
  const intent: FillIntent = { kind: "fill", offset, length: scratch.length, digest, bytes: undefined };
  SOURCES.set(intent, read);
  return intent;
}

/** Without bytes there is nothing to do: contents logged by digest were durable before the commit. */
export async function applyFill(disk: Disk, intent: FillIntent): Promise<void> {
  const write = WRITERS.get(intent);
  if (write !== undefined) {
    await applyMade(disk, intent, write);
    return;
  }
  const read = SOURCES.get(intent);
  if (read !== undefined) {
    await applyRead(disk, intent, read);
    return;
  }
  const { bytes } = intent;
  if (bytes === undefined) return;
  for (let at = 0; at < intent.length; at += PIECE_BYTES) {
    await disk.write(intent.offset + at, bytes.subarray(at, at + PIECE_BYTES));
  }
}

async function applyMade(disk: Disk, { offset, length }: FillIntent, write: Writer): Promise<void> {
  const bytes = takeSpare(length);
  write(bytes.fill(0));
  await disk.write(offset, bytes);
  giveSpare(bytes);
}

/** @throws QcowalError FOREIGN_WRITE when what is read now is not what was planned with */
async function applyRead(
  disk: Disk,
  { offset, length, digest }: FillIntent,
  read: FillSource,
): Promise<void> {
  const bytes = takeSpare(length);
  await read(bytes);
  if (!createHash("sha256").update(bytes).digest().equals(digest)) {
    throw new QcowalError(
      "FOREIGN_WRITE",
      `${disk.path}: what was to be written at 0x${offset.toString(16)} has changed since it was planned: somebody writes to where it comes from. Nothing was changed.`,
    );
  }
  await disk.write(offset, bytes);
  giveSpare(bytes);
}

/** Free clusters may hold anything, so contents that can be written again are never foreign. */
export async function inspectFill(disk: Reader, intent: FillIntent): Promise<Inspection> {
  const hash = createHash("sha256");
  for (let at = 0; at < intent.length; at += PIECE_BYTES) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, intent.length - at));
    await disk.read(intent.offset + at, piece);
    hash.update(piece);
  }
  if (hash.digest().equals(intent.digest)) return { state: "after" };
  // Only a digest is known of contents that are not logged: the change may be anywhere in them.
  return intent.bytes === undefined ? foreign(intent.offset, intent.length) : { state: "before" };
}
