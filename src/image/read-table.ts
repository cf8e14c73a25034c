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

/** Streams clusters, adjacent ones in one read. What lies behind the end of the file reads as zeros. */
export async function* readClusters(
  disk: Disk,
  offsets: readonly number[],
  clusterSize: number,
): AsyncGenerator<ClusterBytes> {
  const clustersPerRead = Math.max(1, Math.floor(READ_BYTES / clusterSize));
  const buffer = Buffer.alloc(clustersPerRead * clusterSize);
  let next = 0;
  while (next < offsets.length) {
    const first = offsets[next] ?? 0;
    let count = 1;
    while (count < clustersPerRead && offsets[next + count] === first + count * clusterSize) count += 1;
    await disk.read(first, buffer.subarray(0, count * clusterSize));
    for (let index = 0; index < count; index += 1) {
      const at = index * clusterSize;
      yield { offset: first + at, bytes: buffer.subarray(at, at + clusterSize) };
    }
    next += count;
  }
}

/** Streams tables of one cluster in file order: `offsets` must be ascending. */
export async function* readTables(
  disk: Disk,
  offsets: readonly number[],
  clusterSize: number,
): AsyncGenerator<TableWords> {
  for await (const { offset, bytes } of readClusters(disk, offsets, clusterSize)) {
    yield { offset, words: tableWords(bytes) };
  }
}
