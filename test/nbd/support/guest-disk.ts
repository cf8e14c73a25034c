import type { Extent, GuestDisk } from "../../../src/export/index.ts";
import { seededRandom } from "../../support/random.ts";

/** A disk in memory whose extents are said apart from its content. */
export class MemoryGuestDisk implements GuestDisk {
  readonly size: number;
  readonly content: Buffer;
  readonly #extents: readonly Extent[];
  reads = 0;
  /** Runs before each read; may delay it or let it fail. */
  beforeRead: (offset: number, length: number) => Promise<void> | void = () => undefined;

  constructor(content: Buffer, extents: readonly Extent[]) {
    this.size = content.length;
    this.content = content;
    this.#extents = extents;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    if (offset < 0 || offset + target.length > this.size) throw new RangeError("outside of the disk");
    this.reads += 1;
    await this.beforeRead(offset, target.length);
    this.content.copy(target, 0, offset, offset + target.length);
  }

  async *extents(offset: number, length: number): AsyncIterable<Extent> {
    if (offset < 0 || offset + length > this.size) throw new RangeError("outside of the disk");
    for (const extent of this.#extents) {
      const from = Math.max(extent.offset, offset);
      const to = Math.min(extent.offset + extent.length, offset + length);
      if (from < to) yield { ...extent, offset: from, length: to - from };
    }
  }

  async close(): Promise<void> {}
}

/** Content and holes in turn, each a random number of `unit`s long. */
export function checkeredDisk(size: number, unit: number, seed: number): MemoryGuestDisk {
  const random = seededRandom(seed);
  const content = Buffer.alloc(size);
  const extents: Extent[] = [];
  const kinds = ["data", "hole", "compressed", "zero"] as const;
  for (let at = 0, turn = 0; at < size; turn += 1) {
    const length = Math.min(unit * (1 + random.int(8)), size - at);
    const kind = kinds[turn % kinds.length] ?? "data";
    extents.push({ offset: at, length, kind, depth: 0 });
    if (kind === "data" || kind === "compressed")
      for (let byte = at; byte < at + length; byte += 1)
        content[byte] = 1 + ((byte * 31 + (byte >> 9)) % 255);
    at += length;
  }
  return new MemoryGuestDisk(content, extents);
}
