import type { Disk } from "../disk/index.ts";
import { tableWords } from "../format/index.ts";
import { isZeros } from "./zeros.ts";

/** One read of a run of adjacent tables is at most this long: large enough to stream, small enough to hold. */
const READ_BYTES = 1024 * 1024;

export interface TableWords {
  /** Host offset of the table. */
  readonly offset: number;
  /** (high, low) pairs of its entries; valid until the next table is asked for. */
  readonly words: Uint32Array;
  /** All of them are zero. A hostile file names 256 GiB of tables that lie in a hole. */
  readonly isEmpty: boolean;
}

export interface ClusterBytes {
  readonly offset: number;
  /** Valid until the next cluster is asked for. */
  readonly bytes: Buffer;
}

/** Between two clusters that are read at once may lie so much that is not wanted: reading it costs less than another read. */
const MAX_GAP_BYTES = 16 * 1024;
/** Reads in flight at a time: as many as Node has threads for them, and as many again so that none waits. */
const READ_AHEAD = 8;

/** Streams clusters, those near each other in one read, the next ones read while the caller works on this one. What lies behind the end of the file reads as zeros. */
export async function* readClusters(
  disk: Disk,
  offsets: ArrayLike<number>,
  clusterSize: number,
): AsyncGenerator<ClusterBytes> {
  const ahead = new ReadAhead(disk, offsets, clusterSize);
  try {
    for (;;) {
      const read = ahead.next();
      if (read === undefined) return;
      await read.done;
      for (let index = read.first; index < read.end; index += 1) {
        const offset = offsets[index] ?? 0;
        const at = offset - read.offset;
        yield { offset, bytes: read.bytes.subarray(at, at + clusterSize) };
      }
    }
  } finally {
    // A caller that leaves early may write next: no read may be under way then.
    await ahead.settled();
  }
}

interface Read {
  /** Which of the clusters it brings. */
  readonly first: number;
  readonly end: number;
  readonly offset: number;
  readonly bytes: Buffer;
  readonly done: Promise<unknown>;
}

/** Issues reads in order, into buffers that are used in turn. */
class ReadAhead {
  readonly #disk: Disk;
  readonly #offsets: ArrayLike<number>;
  readonly #clusterSize: number;
  readonly #most: number;
  readonly #buffers: Buffer[] = [];
  readonly #reads: Read[] = [];
  #next = 0;
  #issued = 0;

  constructor(disk: Disk, offsets: ArrayLike<number>, clusterSize: number) {
    this.#disk = disk;
    this.#offsets = offsets;
    this.#clusterSize = clusterSize;
    this.#most = Math.max(clusterSize, READ_BYTES);
  }

  /** The next read; its bytes are valid until `next` is called again. */
  next(): Read | undefined {
    while (this.#reads.length < READ_AHEAD && this.#next < this.#offsets.length) this.#issue();
    return this.#reads.shift();
  }

  async settled(): Promise<void> {
    await Promise.allSettled(this.#reads.map(({ done }) => done));
  }

  #issue(): void {
    const first = this.#next;
    const start = this.#offsets[first] ?? 0;
    let end = start + this.#clusterSize;
    for (this.#next += 1; this.#next < this.#offsets.length; this.#next += 1) {
      const offset = this.#offsets[this.#next] ?? 0;
      const isNear = offset >= end && offset - end <= MAX_GAP_BYTES;
      if (!isNear || offset + this.#clusterSize - start > this.#most) break;
      end = offset + this.#clusterSize;
    }
    const bytes = this.#buffer(end - start);
    const done = this.#disk.read(start, bytes);
    // It is awaited in its turn; until then a failure is not unhandled.
    done.catch(() => undefined);
    this.#reads.push({ first, end: this.#next, offset: start, bytes, done });
  }

  /** One more buffer than reads in flight: the caller still holds the last one. */
  #buffer(length: number): Buffer {
    const index = this.#issued % (READ_AHEAD + 1);
    this.#issued += 1;
    const present = this.#buffers[index];
    if (present !== undefined && present.length >= length) return present.subarray(0, length);
    const buffer = Buffer.allocUnsafeSlow(length);
    this.#buffers[index] = buffer;
    return buffer;
  }
}

/** Streams tables of one cluster in file order: `offsets` must be ascending. */
export async function* readTables(
  disk: Disk,
  offsets: ArrayLike<number>,
  clusterSize: number,
): AsyncGenerator<TableWords> {
  for await (const { offset, bytes } of readClusters(disk, offsets, clusterSize)) {
    const isEmpty = isZeros(bytes);
    yield {
      offset,
      isEmpty,
      words: isEmpty ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4) : tableWords(bytes),
    };
  }
}
