import type { Disk } from "../disk/index.ts";
import type { Geometry } from "../format/index.ts";
import { L2Table } from "./l2-table.ts";
import { ReadAhead } from "./read-ahead.ts";

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

/** Streams L2 tables in file order: `offsets` must be ascending. `onTable` hears of each before it is given, `onEnd` that all were. */
export function readTables(
  disk: Disk,
  offsets: ArrayLike<number>,
  geometry: Geometry,
  onTable?: (table: L2Table) => void,
  onEnd?: () => void,
): ReadAhead<L2Table> {
  const make = (offset: number, bytes: Buffer): L2Table => {
    const table = L2Table.read(offset, geometry, bytes);
    onTable?.(table);
    return table;
  };
  return new ReadAhead(disk, offsets, geometry.clusterSize, make, onEnd);
}
