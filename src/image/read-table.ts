import type { Disk } from "../disk/index.ts";
import { tableWords } from "../format/index.ts";

/** One read of a run of adjacent tables is at most this long: large enough to stream, small enough to hold. */
const READ_BYTES = 1024 * 1024;

export interface TableWords {
  /** Host offset of the table. */
  readonly offset: number;
  /** (high, low) pairs of its entries; valid until the next table is asked for. */
  readonly words: Uint32Array;
}

export interface ClusterBytes {
  readonly offset: number;
  /** Valid until the next cluster is asked for. */
  readonly bytes: Buffer;
}

/** Between two clusters that are read at once may lie so much that is not wanted: reading it costs less than another read. */
const MAX_GAP_BYTES = 16 * 1024;

/** Streams clusters, those near each other in one read. What lies behind the end of the file reads as zeros. */
export async function* readClusters(
  disk: Disk,
  offsets: ArrayLike<number>,
  clusterSize: number,
): AsyncGenerator<ClusterBytes> {
  const most = Math.max(clusterSize, READ_BYTES);
  let buffer = Buffer.alloc(0);
  let next = 0;
  while (next < offsets.length) {
    const first = offsets[next] ?? 0;
    let end = first + clusterSize;
    let behind = next + 1;
    for (; behind < offsets.length; behind += 1) {
      const offset = offsets[behind] ?? 0;
      if (offset < end || offset - end > MAX_GAP_BYTES || offset + clusterSize - first > most) break;
      end = offset + clusterSize;
    }
    if (buffer.length < end - first) buffer = Buffer.alloc(end - first);
    await disk.read(first, buffer.subarray(0, end - first));
    for (; next < behind; next += 1) {
      const offset = offsets[next] ?? 0;
      yield { offset, bytes: buffer.subarray(offset - first, offset - first + clusterSize) };
    }
  }
}

/** Streams tables of one cluster in file order: `offsets` must be ascending. */
export async function* readTables(
  disk: Disk,
  offsets: ArrayLike<number>,
  clusterSize: number,
): AsyncGenerator<TableWords> {
  for await (const { offset, bytes } of readClusters(disk, offsets, clusterSize)) {
    yield { offset, words: tableWords(bytes) };
  }
}
