import { createHash } from "node:crypto";

/**
 * A disk is hashed in pieces of this many bytes, the last one shorter: what is
 * known to be zeros costs nothing, and of two states that share most of their
 * content each piece that they share is hashed once.
 */
export const CHUNK_BYTES = 1024 * 1024;

const ZEROS = Buffer.alloc(CHUNK_BYTES);
const CONTENT_MAGIC = "qcowal content 1\n";

/** SHA-256 of one piece. */
export const chunkDigest = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

/** Hashed when it is first needed: most commands never do. */
let zeroChunk: Buffer | undefined;

/** The same of `length` bytes of zeros. */
export function zeroDigest(length: number): Buffer {
  if (length !== CHUNK_BYTES) return chunkDigest(ZEROS.subarray(0, length));
  zeroChunk ??= chunkDigest(ZEROS);
  return zeroChunk;
}

/**
 * What a disk holds, as one number: SHA-256 over a magic, its size as a 64-bit big
 * endian number, and the SHA-256 of each of its pieces, in order.
 */
export class ContentDigest {
  readonly #hash = createHash("sha256");

  constructor(size: number) {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt(size));
    this.#hash.update(CONTENT_MAGIC).update(bytes);
  }

  /** The digest of the next piece. */
  add(digest: Uint8Array): void {
    this.#hash.update(digest);
  }

  /** In hexadecimal. */
  finish(): string {
    return this.#hash.digest("hex");
  }
}
