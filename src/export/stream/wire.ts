/**
 * The bytes of a stream: a magic, then frames. Big endian.
 *
 *   tag      4 bytes: "head", "data", "zero" or "end "
 *   payload  u32, its length
 *   offset   u64, on the guest's disk
 *   length   u64, on the guest's disk
 *   payload
 *   digest   SHA-256 of the digest before it, the four fields and the payload;
 *            the first one follows the SHA-256 of the magic
 *
 * Each digest covers all that came before: what was flipped, left out, doubled or
 * put in another order is found at the frame where it happens, before it is used,
 * and only the frame "end " ends a stream. Why not the format of `rbd export-diff`,
 * which others know: it has no checksums, and does not say what it is to be
 * applied to, so that neither a flipped bit nor the wrong disk would be noticed.
 */
import { createHash } from "node:crypto";

/** Its number is that of the format: a reader refuses others. */
export const MAGIC = Buffer.from("qcowal stream 1\n", "latin1");

export const TAG_BYTES = 4;
export const FRAME_HEAD_BYTES = 24;
export const DIGEST_BYTES = 32;
/** Of data in one frame; a reader holds one of them. */
export const MAX_DATA_BYTES = 1024 * 1024;
/** Of the JSON in "head" and "end ". */
export const MAX_JSON_BYTES = 64 * 1024;

export const TAGS = ["head", "data", "zero", "end "] as const;
export type Tag = (typeof TAGS)[number];

export interface FrameHead {
  readonly tag: string;
  readonly payload: number;
  readonly offset: number;
  readonly length: number;
}

export function encodeFrameHead({ tag, payload, offset, length }: FrameHead): Buffer {
  const bytes = Buffer.alloc(FRAME_HEAD_BYTES);
  bytes.write(tag, 0, TAG_BYTES, "latin1");
  bytes.writeUInt32BE(payload, 4);
  bytes.writeBigUInt64BE(BigInt(offset), 8);
  bytes.writeBigUInt64BE(BigInt(length), 16);
  return bytes;
}

/** As it is: numbers above 2^53 are not exact, and out of every range. */
export function decodeFrameHead(bytes: Buffer): FrameHead {
  return {
    tag: bytes.toString("latin1", 0, TAG_BYTES),
    payload: bytes.readUInt32BE(4),
    offset: Number(bytes.readBigUInt64BE(8)),
    length: Number(bytes.readBigUInt64BE(16)),
  };
}

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** The digest that covers all frames so far. */
export class Chain {
  #digest = sha256(MAGIC);

  get digest(): Buffer {
    return this.#digest;
  }

  next(head: Uint8Array, payload: Uint8Array): Buffer {
    this.#digest = sha256(this.#digest, head, payload);
    return this.#digest;
  }
}
