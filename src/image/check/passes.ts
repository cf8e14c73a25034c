import type { Geometry } from "../../format/index.ts";
import type { BlockWindow } from "../refcount-blocks.ts";

/**
 * What a check may hold of an image, in bytes, whatever its size: what exceeds it
 * takes more passes. A process has 60 MiB before it has seen an image, and is
 * to stay below 256 MiB.
 */
export interface CheckMemory {
  /** References: a byte for a cluster, five where it has more than 31. One pass is enough for almost 4 TiB at 64 KiB clusters. */
  readonly counts: number;
  /** Bits of refcounts that are 1: an eighth of the above suffices where everything is in use. */
  readonly flags: number;
  /** L2 tables, of some 24 bytes each. */
  readonly tables: number;
}

const MIB = 2 ** 20;
export const CHECK_MEMORY: CheckMemory = { counts: 64 * MIB, flags: 16 * MIB, tables: 2 ** 19 };

const BINS = 4096;

/**
 * Divides the file into windows whose references fit in the memory. In the first
 * pass nobody knows what is referred to: its window is as long as fits if that is
 * everything. It hears of what lies outside, and later windows follow from that.
 */
export class Passes {
  readonly #blocks: number;
  readonly #chunksPerBlock: number;
  readonly #blocksPerBin: number;
  /** How many chunks are referred to, at most, by bin of the file. */
  readonly #chunks = new Float64Array(BINS);
  #isOver = false;

  /** `blocks` refcount blocks count what is in the file, whether or not they are stored. */
  constructor({ refcountEntries }: Geometry, chunkClusters: number, blocks: number) {
    this.#blocks = blocks;
    this.#chunksPerBlock = refcountEntries / chunkClusters;
    this.#blocksPerBin = Math.max(1, Math.ceil(blocks / BINS));
  }

  /** A chunk outside the window, perhaps not for the first time. */
  readonly note = (chunk: number): void => {
    if (this.#isOver) return;
    const bin = Math.floor(chunk / (this.#chunksPerBlock * this.#blocksPerBin));
    if (bin < BINS) this.#chunks[bin] = (this.#chunks[bin] ?? 0) + 1;
  };

  /** The first window, when `clusters` fit that are all referred to. */
  first(clusters: number, { refcountEntries }: Geometry): BlockWindow {
    return this.#window(0, Math.max(1, Math.floor(clusters / refcountEntries)));
  }

  /** A window from `first` on, when `chunks` fit. */
  next(first: number, chunks: number): BlockWindow {
    this.#isOver = true;
    const perBlock = this.#chunksPerBlock;
    let left = chunks;
    let end = first;
    while (end < this.#blocks) {
      const bin = Math.floor(end / this.#blocksPerBin);
      const behind = (bin + 1) * this.#blocksPerBin;
      const most = (behind - end) * perBlock;
      const found = Math.min(this.#chunks[bin] ?? 0, most);
      if (found > left) {
        // Of this bin as much as fits if it is all there.
        end += Math.floor(left / perBlock);
        break;
      }
      left -= found;
      end = behind;
    }
    return this.#window(first, Math.max(first + 1, end));
  }

  /** The last one has no end: what lies behind the file belongs to it. */
  #window(first: number, end: number): BlockWindow {
    return { first, end: end >= this.#blocks ? Infinity : end };
  }
}
