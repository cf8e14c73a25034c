import type { Disk } from "../disk/index.ts";
import type { Layer, Piece } from "./layer.ts";
import { READS_AT_A_TIME, inParallel } from "./parallel.ts";
import type { Segment } from "./segment.ts";

/** A raw file that backs an image: all of it is data. */
export class RawLayer implements Layer {
  readonly path: string;
  readonly size: number;
  readonly #disk: Disk;

  constructor(disk: Disk, size: number) {
    this.#disk = disk;
    this.path = disk.path;
    this.size = size;
  }

  map(offset: number, end: number): Promise<Segment[]> {
    return Promise.resolve([{ offset, length: end - offset, kind: "data", host: offset }]);
  }

  async read(pieces: readonly Piece[]): Promise<void> {
    await inParallel(pieces, READS_AT_A_TIME, async ({ segment, target }) => {
      await this.#disk.read(segment.offset, target);
    });
  }

  close(): Promise<void> {
    return this.#disk.close();
  }
}
