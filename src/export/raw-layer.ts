import type { Disk } from "../disk/index.ts";
import type { Layer } from "./layer.ts";
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

  async read(segment: Segment, from: number, target: Uint8Array): Promise<void> {
    await this.#disk.read(segment.offset + from, target);
  }

  close(): Promise<void> {
    return this.#disk.close();
  }
}
