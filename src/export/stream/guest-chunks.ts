import { isZeros } from "../../image/index.ts";
import type { Extent, GuestDisk } from "../guest-disk.ts";
import { CHUNK_BYTES, ContentDigest, chunkDigest, zeroDigest } from "./content-digest.ts";

/** A piece of a disk. */
export interface GuestChunk {
  readonly offset: number;
  readonly length: number;
  /** Undefined for zeros. Valid until the next piece is asked for. */
  readonly bytes: Buffer | undefined;
}

/** The content of a disk from front to back, in the pieces that are hashed; the next one is read meanwhile. What is said to be zeros is not read. */
export async function* guestChunks(disk: GuestDisk): AsyncGenerator<GuestChunk> {
  const zeros = new ZeroCursor(disk);
  const buffers = [Buffer.allocUnsafeSlow(CHUNK_BYTES), Buffer.allocUnsafeSlow(CHUNK_BYTES)] as const;
  const load = async (index: number): Promise<GuestChunk> => {
    const offset = index * CHUNK_BYTES;
    const length = Math.min(CHUNK_BYTES, disk.size - offset);
    if (await zeros.covers(offset, length)) return { offset, length, bytes: undefined };
    const bytes = (index % 2 === 0 ? buffers[0] : buffers[1]).subarray(0, length);
    await disk.read(offset, bytes);
    return { offset, length, bytes: isZeros(bytes) ? undefined : bytes };
  };
  const count = Math.ceil(disk.size / CHUNK_BYTES);
  let next = count > 0 ? load(0) : undefined;
  try {
    for (let index = 0; index < count && next !== undefined; index += 1) {
      const chunk = await next;
      next = index + 1 < count ? load(index + 1) : undefined;
      // It is awaited in its turn; until then a failure is not unhandled.
      next?.catch(() => undefined);
      yield chunk;
    }
  } finally {
    await next?.catch(() => undefined);
    await zeros.end();
  }
}

/** Follows the extents of a disk. */
class ZeroCursor {
  readonly #extents: AsyncIterator<Extent>;
  #current: Extent | undefined;
  #ended = false;

  constructor(disk: GuestDisk) {
    this.#extents = disk.extents(0, disk.size)[Symbol.asyncIterator]();
  }

  /** Whether the range, which begins where the one before it ended, is said to be zeros. */
  async covers(offset: number, length: number): Promise<boolean> {
    const end = offset + length;
    let isZero = true;
    for (;;) {
      this.#current ??= await this.#next();
      if (this.#current === undefined) return false;
      if (this.#current.kind === "data" || this.#current.kind === "compressed") isZero = false;
      if (this.#current.offset + this.#current.length > end) return isZero;
      const isLast = this.#current.offset + this.#current.length === end;
      this.#current = undefined;
      if (isLast) return isZero;
    }
  }

  async end(): Promise<void> {
    if (!this.#ended) await this.#extents.return?.();
  }

  async #next(): Promise<Extent | undefined> {
    const result = await this.#extents.next();
    if (result.done !== true) return result.value;
    this.#ended = true;
    return undefined;
  }
}

export const digestOfChunk = ({ bytes, length }: GuestChunk): Buffer =>
  bytes === undefined ? zeroDigest(length) : chunkDigest(bytes);

/** The digest of all that a disk holds, as streams name it. */
export async function contentDigest(
  disk: GuestDisk,
  checkpoint: (done: number) => void = () => undefined,
): Promise<string> {
  const digest = new ContentDigest(disk.size);
  for await (const chunk of guestChunks(disk)) {
    digest.add(digestOfChunk(chunk));
    checkpoint(chunk.offset + chunk.length);
  }
  return digest.finish();
}
