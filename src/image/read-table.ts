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

/**
 * Streams cluster-sized tables in file order, adjacent ones in one read.
 * `offsets` must be ascending. What lies behind the end of the file reads as zeros.
 */
export async function* readTables(
  disk: Disk,
  offsets: readonly number[],
  clusterSize: number,
): AsyncGenerator<TableWords> {
  const tablesPerRead = Math.max(1, Math.floor(READ_BYTES / clusterSize));
  const buffer = Buffer.alloc(tablesPerRead * clusterSize);
  let next = 0;
  while (next < offsets.length) {
    const first = offsets[next] ?? 0;
    let count = 1;
    while (count < tablesPerRead && offsets[next + count] === first + count * clusterSize) count += 1;
    await disk.read(first, buffer.subarray(0, count * clusterSize));
    for (let index = 0; index < count; index += 1) {
      const bytes = buffer.subarray(index * clusterSize, (index + 1) * clusterSize);
      yield { offset: first + index * clusterSize, words: tableWords(bytes) };
    }
    next += count;
  }
}
