import type { Disk } from "../disk/index.ts";
import { QcowalError } from "../errors/index.ts";
import { type RefcountArray, decodeRefcountBlock, readRefcount } from "../format/index.ts";
import { type RefcountTable, storedIn } from "./refcount-table.ts";
import { type BlockWindow, readRefcountBlocks } from "./refcount-blocks.ts";
import { type LoadBlocks, Refcounts, WHOLE_TABLE } from "./refcounts.ts";
import { zeroBuffer } from "./zeros.ts";

/** Refcount blocks that are held together; more than this is refused rather than swapped. */
const MAX_BLOCK_BYTES = 2 ** 31;
/** Small blocks share an allocation: each costs more than they hold. */
const SLAB_BYTES = 1024 * 1024;

/** Which one is like them is asked of each block: two are found fast, and stand for nearly all. */
const MOST_LIKELY = 2;

interface HeldBlock {
  /** As it is in the file. */
  readonly stored: Buffer;
  readonly block: RefcountArray;
}

/** Reads refcount blocks, window by window into the same memory. */
export class BlockReader {
  readonly #disk: Disk;
  readonly #stored: RefcountTable;
  readonly #onBlock: (() => void) | undefined;
  readonly #zeros: Buffer;
  /** The block that others were like lately, and behind it the one that was held last. */
  #likely: HeldBlock[] = [];
  readonly #blank: RefcountArray;
  /** What held the blocks of the last window. */
  #spare: Buffer[] = [];
  #used: Buffer[] = [];
  #slab = Buffer.alloc(0);
  #last: { readonly offset: number; readonly view: DataView } | undefined;

  constructor(disk: Disk, stored: RefcountTable, onBlock: (() => void) | undefined) {
    this.#disk = disk;
    this.#stored = stored;
    this.#onBlock = onBlock;
    const { clusterSize } = stored.geometry;
    this.#zeros = Buffer.from(zeroBuffer(clusterSize), 0, clusterSize);
    // Decoding in place turns the bytes of each entry round: zeros stay zeros.
    this.#blank = decodeRefcountBlock(this.#zeros, stored.geometry);
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
    const blocks: (RefcountArray | undefined)[] = [];
    this.#reuse();
    const named = storedIn(this.#stored.table.subarray(window.first, window.end));
    await this.#stream(window, undefined, named, (slot, block) => {
      blocks[slot - window.first] = block;
    });
    return new Refcounts(this.#stored, blocks, this.#blank, window);
  }

  /** The same, of which no block is read before it is asked for. */
  onDemand(window: BlockWindow = WHOLE_TABLE): Refcounts {
    this.#reuse();
    const load: LoadBlocks = async (slots, onBlock) => {
      const wanted = new Set(slots);
      const part = { first: slots[0] ?? 0, end: (slots.at(-1) ?? -1) + 1 };
      await this.#stream(part, (slot) => wanted.has(slot), slots.length, onBlock);
    };
    return new Refcounts(this.#stored, [], this.#blank, window, load);
  }

  /** An entry of a block that is not held, but for the last of them. */
  async refcountAt(offset: number, entry: number): Promise<number> {
    const { geometry } = this.#stored;
    if (this.#last?.offset !== offset) {
      const bytes = Buffer.alloc(geometry.clusterSize);
      await this.#disk.read(offset, bytes);
      this.#onBlock?.();
      this.#last = { offset, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
    }
    return readRefcount(this.#last.view, geometry, entry);
  }

  #reuse(): void {
    this.#likely = [];
    this.#spare = [...this.#spare, ...this.#used];
    this.#used = [];
  }

  /** `count`: how many are to be expected. */
  async #stream(
    window: BlockWindow,
    isWanted: ((slot: number) => boolean) | undefined,
    count: number,
    onBlock: (slot: number, block: RefcountArray) => void,
  ): Promise<void> {
    const { geometry, table } = this.#stored;
    for await (const { slots, bytes } of readRefcountBlocks(this.#disk, geometry, table, window, isWanted)) {
      this.#onBlock?.();
      // Reading the table made sure that it is the only one.
      onBlock(slots[0] ?? 0, bytes.equals(this.#zeros) ? this.#blank : this.#hold(bytes, count));
    }
  }

  /**
   * Where a disk was written in order, one block is like the other, but for one now and
   * then: those are held once.
   */
  #hold(bytes: Buffer, count: number): RefcountArray {
    const { geometry } = this.#stored;
    const known = this.#likely.find((likely) => bytes.equals(likely.stored));
    if (known !== undefined) {
      if (known !== this.#likely[0]) this.#likely.reverse();
      return known.block;
    }
    if ((this.#used.length + 1) * geometry.clusterSize > MAX_BLOCK_BYTES) {
      throw new QcowalError(
        "LIMIT_EXCEEDED",
        `${this.#disk.path}: refcount blocks exceed 2 GiB. Nothing was changed.`,
      );
    }
    const held = this.#spare.pop() ?? this.#carve(count);
    this.#used.push(held);
    bytes.copy(held);
    const block = decodeRefcountBlock(held, geometry);
    // What is expected to be the only one has none to be like.
    if (count > 1) {
      const last = this.#likely.length < MOST_LIKELY ? undefined : this.#likely.pop();
      const stored = last?.stored ?? Buffer.allocUnsafeSlow(geometry.clusterSize);
      bytes.copy(stored);
      this.#likely.push({ stored, block });
    }
    return block;
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
