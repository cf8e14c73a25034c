import type { Disk } from "../disk/index.ts";
import { QcowalError } from "../errors/index.ts";
import { type RefcountArray, decodeRefcountBlock } from "../format/index.ts";
import type { RefcountTable } from "./refcount-table.ts";
import { type BlockWindow, readRefcountBlocks } from "./refcount-blocks.ts";
import { Refcounts, WHOLE_TABLE } from "./refcounts.ts";

/** Refcount blocks that are held together; more than this is refused rather than swapped. */
const MAX_BLOCK_BYTES = 2 ** 31;
/** Small blocks share an allocation: each costs more than they hold. */
const SLAB_BYTES = 1024 * 1024;

/** Reads refcount blocks, window by window into the same memory. */
export class BlockReader {
  readonly #disk: Disk;
  readonly #stored: RefcountTable;
  readonly #onBlock: (() => void) | undefined;
  readonly #zeros: Buffer;
  readonly #blank: RefcountArray;
  /** What held the blocks of the last window. */
  #spare: Buffer[] = [];
  #used: Buffer[] = [];
  #slab = Buffer.alloc(0);

  constructor(disk: Disk, stored: RefcountTable, onBlock: (() => void) | undefined) {
    this.#disk = disk;
    this.#stored = stored;
    this.#onBlock = onBlock;
    this.#zeros = Buffer.alloc(stored.geometry.clusterSize);
    this.#blank = decodeRefcountBlock(Buffer.from(this.#zeros), stored.geometry);
  }

  /** Memory of the blocks that it gave last. */
  get heldBytes(): number {
    return this.#used.length * this.#stored.geometry.clusterSize;
  }

  /** One for another table of the same image, which takes the memory over. */
  reading(stored: RefcountTable): BlockReader {
    const reader = new BlockReader(this.#disk, stored, this.#onBlock);
    reader.#spare = this.#spare;
    reader.#used = this.#used;
    reader.#slab = this.#slab;
    return reader;
  }

  /** The refcounts that it gave before are no longer valid. */
  async read(window: BlockWindow = WHOLE_TABLE): Promise<Refcounts> {
    const { geometry, table } = this.#stored;
    const { clusterSize } = geometry;
    const blocks: (RefcountArray | undefined)[] = [];
    this.#spare = [...this.#spare, ...this.#used];
    this.#used = [];
    const named = table
      .subarray(window.first, window.end)
      .reduce((sum, offset) => sum + (offset === 0 ? 0 : 1), 0);
    for await (const { slots, bytes } of readRefcountBlocks(this.#disk, geometry, table, window)) {
      this.#onBlock?.();
      // Reading the table made sure that it is the only one.
      const index = (slots[0] ?? 0) - window.first;
      if (bytes.equals(this.#zeros)) {
        blocks[index] = this.#blank;
        continue;
      }
      if ((this.#used.length + 1) * clusterSize > MAX_BLOCK_BYTES) {
        throw new QcowalError(
          "LIMIT_EXCEEDED",
          `${this.#disk.path}: refcount blocks exceed 2 GiB. Nothing was changed.`,
        );
      }
      const held = this.#spare.pop() ?? this.#carve(named);
      this.#used.push(held);
      bytes.copy(held);
      blocks[index] = decodeRefcountBlock(held, geometry);
    }
    return new Refcounts(this.#stored, blocks, this.#blank, window);
  }

  /** Memory for one of `blocks` blocks. */
  #carve(blocks: number): Buffer {
    const { clusterSize } = this.#stored.geometry;
    if (this.#slab.length < clusterSize) {
      const bytes = Math.min(SLAB_BYTES, blocks * clusterSize);
      this.#slab = Buffer.allocUnsafeSlow(Math.max(bytes, clusterSize));
    }
    const block = this.#slab.subarray(0, clusterSize);
    this.#slab = this.#slab.subarray(clusterSize);
    return block;
  }
}
