import type { Disk } from "../disk/index.ts";
import { tableWords } from "../format/index.ts";
import { ReadAhead } from "./read-ahead.ts";
import { isZeros } from "./zeros.ts";

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

/** Streams clusters; see `ReadAhead`. */
export function readClusters(
  disk: Disk,
  offsets: ArrayLike<number>,
  clusterSize: number,
): ReadAhead<ClusterBytes> {
  return new ReadAhead(disk, offsets, clusterSize, (offset, bytes) => ({ offset, bytes }));
}

/** Streams tables of one cluster in file order: `offsets` must be ascending. `onTable` hears of each before it is given, `onEnd` that all were. */
export function readTables(
  disk: Disk,
  offsets: ArrayLike<number>,
  clusterSize: number,
  onTable?: (table: TableWords) => void,
  onEnd?: () => void,
): ReadAhead<TableWords> {
  const make = (offset: number, bytes: Buffer): TableWords => {
    const isEmpty = isZeros(bytes);
    const words = isEmpty
      ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
      : tableWords(bytes);
    const table = { offset, words, isEmpty };
    onTable?.(table);
    return table;
  };
  return new ReadAhead(disk, offsets, clusterSize, make, onEnd);
}
