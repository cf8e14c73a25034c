import type { Disk } from "../disk/index.ts";
import type { Geometry } from "../format/index.ts";
import { type L1Location, type L1Table, decodeL1Table, readL1Table } from "./l1-table.ts";

/** Read at once where small tables follow each other: twice as much each time, for most images have a few. */
const FIRST_PIECE_BYTES = 16 * 1024;
const PIECE_BYTES = 1024 * 1024;
/** What may lie between them. */
const MAX_GAP_BYTES = 64 * 1024;

/**
 * Reads L1 tables one after the other. Thousands of snapshots of a small disk have
 * their tables near each other: those are taken from one read.
 */
export class L1Reader {
  readonly #disk: Disk;
  readonly #geometry: Geometry;
  #piece = Buffer.alloc(0);
  #scratch = Buffer.alloc(0);
  #from = 0;
  /** Where the last table ended. */
  #end = -1;

  constructor(disk: Disk, geometry: Geometry) {
    this.#disk = disk;
    this.#geometry = geometry;
  }

  /** @throws QcowalError IMAGE_INVALID for reserved bits or unaligned L2 tables */
  async read(location: L1Location): Promise<L1Table> {
    const { offset, entries } = location;
    const end = offset + entries * 8;
    const isNext = offset >= this.#end && offset - this.#end <= MAX_GAP_BYTES;
    this.#end = end;
    const isHeld = (): boolean => offset >= this.#from && end <= this.#from + this.#piece.length;
    if (!isHeld() && isNext && entries * 8 < PIECE_BYTES) {
      const wanted = Math.max(FIRST_PIECE_BYTES, this.#piece.length * 2, entries * 8);
      const length = Math.min(PIECE_BYTES, wanted);
      if (length > this.#piece.length) this.#piece = Buffer.allocUnsafeSlow(length);
      await this.#disk.read(offset, this.#piece);
      this.#from = offset;
    }
    if (!isHeld()) return readL1Table(this.#disk, this.#geometry, location);
    // Decoding changes the bytes, and keeps nothing of them.
    if (this.#scratch.length < entries * 8) this.#scratch = Buffer.allocUnsafeSlow(entries * 8);
    const bytes = this.#scratch.subarray(0, entries * 8);
    this.#piece.copy(bytes, 0, offset - this.#from, end - this.#from);
    return decodeL1Table(this.#geometry, location, bytes);
  }
}
