/** Where the tables are, read before anything is damaged. */
export class Target {
  bytes: Uint8Array;
  readonly clusterSize: number;
  readonly version: number;
  readonly extended: boolean;
  readonly refcountBits: number;
  readonly blocks: readonly number[];
  readonly refcountTable: number;
  readonly l1Tables: readonly { readonly offset: number; readonly entries: number }[];
  readonly snapshots: readonly number[];
  readonly bitmaps:
    { readonly extension: number; readonly directory: number; readonly table: number } | undefined;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    // Without the mark of an interrupted operation.
    this.version = this.u32(4) % 0x8000_0000;
    this.clusterSize = 2 ** this.u32(20);
    this.extended = this.version === 3 && (this.u64(72) & 16n) !== 0n;
    this.refcountBits = this.version === 3 ? 2 ** this.u32(96) : 16;
    this.refcountTable = Number(this.u64(48));
    this.blocks = this.#offsets(this.refcountTable, (this.u32(56) * this.clusterSize) / 8);
    this.snapshots = this.#snapshots();
    this.l1Tables = [
      { offset: Number(this.u64(40)), entries: this.u32(36) },
      ...this.snapshots.map((at) => ({ offset: Number(this.u64(at)), entries: this.u32(at + 8) })),
    ].filter(({ entries }) => entries > 0);
    this.bitmaps = this.#bitmaps();
  }

  view(): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
  }

  u32(at: number): number {
    return at + 4 <= this.bytes.length ? this.view().getUint32(at) : 0;
  }

  u64(at: number): bigint {
    return at + 8 <= this.bytes.length ? this.view().getBigUint64(at) : 0n;
  }

  put(at: number, size: 1 | 2 | 4 | 8, value: bigint): void {
    for (let byte = 0; byte < size; byte += 1) {
      const index = at + size - 1 - byte;
      if (index < this.bytes.length) this.bytes[index] = Number((value >> BigInt(8 * byte)) & 0xffn);
    }
  }

  l2Tables(): number[] {
    return this.l1Tables.flatMap(({ offset, entries }) =>
      this.#offsets(offset, entries).map((raw) => raw - (raw % this.clusterSize)),
    );
  }

  #offsets(at: number, entries: number): number[] {
    return Array.from({ length: entries }, (_, index) =>
      Number(this.u64(at + index * 8) & 0x00ff_ffff_ffff_fe00n),
    ).filter((offset) => offset !== 0 && offset < this.bytes.length);
  }

  #snapshots(): number[] {
    const found: number[] = [];
    let at = Number(this.u64(64));
    for (let left = this.u32(60); left > 0; left -= 1) {
      found.push(at);
      const ids = this.u32(at + 12);
      at = Math.ceil((at + 40 + this.u32(at + 36) + (ids >>> 16) + (ids & 0xffff)) / 8) * 8;
    }
    return found;
  }

  #bitmaps(): Target["bitmaps"] {
    if (this.version === 2) return undefined;
    for (let at = this.u32(100); at + 8 < this.clusterSize;) {
      const type = this.u32(at);
      if (type === 0) return undefined;
      if (type === 0x2385_2875) {
        const directory = Number(this.u64(at + 24));
        return { extension: at, directory, table: Number(this.u64(directory)) };
      }
      at += 8 + Math.ceil(this.u32(at + 4) / 8) * 8;
    }
    return undefined;
  }
}
