import type { FileBytes } from "./file.ts";
import type { NaiveHeader } from "./header.ts";

const TABLE_MASK = 0xffff_ffff_ffff_fe00n;

/** The refcounts as stored. */
export class StoredRefcounts {
  readonly #file: FileBytes;
  readonly #header: NaiveHeader;
  readonly perBlock: number;
  readonly tableEntries: number;

  constructor(file: FileBytes, header: NaiveHeader) {
    this.#file = file;
    this.#header = header;
    this.perBlock = (header.clusterSize * 8) / 2 ** header.refcountOrder;
    this.tableEntries = (header.refcountTableClusters * header.clusterSize) / 8;
  }

  tableEntry(index: number): { offset: number; reserved: bigint } {
    const value = this.#file.u64(this.#header.refcountTableOffset + index * 8);
    return { offset: Number(value & TABLE_MASK), reserved: value & 0x1ffn };
  }

  /** Refcount of a host cluster; 64-bit values that no census can reach become Infinity. */
  get(cluster: number): number {
    const index = Math.floor(cluster / this.perBlock);
    if (index >= this.tableEntries) return 0;
    const { offset } = this.tableEntry(index);
    return offset === 0 ? 0 : this.inBlock(offset, cluster % this.perBlock);
  }

  inBlock(blockOffset: number, entry: number): number {
    const file = this.#file;
    switch (this.#header.refcountOrder) {
      case 3:
        return file.u8(blockOffset + entry);
      case 4:
        return file.u16(blockOffset + entry * 2);
      case 5:
        return file.u32(blockOffset + entry * 4);
      case 6:
        return file.number64(blockOffset + entry * 8);
      default: {
        const bits = 2 ** this.#header.refcountOrder;
        const byte = file.u8(blockOffset + Math.floor((entry * bits) / 8));
        return (byte >>> ((entry * bits) % 8)) & (2 ** bits - 1);
      }
    }
  }
}
