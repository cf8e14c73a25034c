import { parseHeader } from "./naive-qcow2.ts";
import { FileBytes } from "./naive-qcow2/file.ts";

/** Where things are in an image with 16-bit refcounts and 8-byte L2 entries, to damage them. */
export interface Places {
  readonly bytes: Buffer;
  readonly clusterSize: number;
  /** The L1 table of the active layer, and its first L2 table. */
  readonly l1: number;
  readonly l2: number;
  /** The refcount table, and its first block. */
  readonly table: number;
  readonly block: number;
  /** The entry of guest cluster 10 in that L2 table. */
  readonly entry: number;
  readonly snapshots: number;
}

export function placesIn(bytes: Buffer): Places {
  const { l1Offset, refcountTableOffset, snapshotsOffset, clusterSize } = parseHeader(
    new FileBytes(bytes),
    {},
  );
  const l2 = targetAt({ bytes }, l1Offset);
  return {
    bytes,
    clusterSize,
    l1: l1Offset,
    l2,
    table: refcountTableOffset,
    block: targetAt({ bytes }, refcountTableOffset),
    entry: l2 + 8 * 10,
    snapshots: snapshotsOffset,
  };
}

/** Offset in the entry of a table. */
export const targetAt = ({ bytes }: Pick<Places, "bytes">, entry: number): number =>
  Number(bytes.readBigUInt64BE(entry) & 0x00ff_ffff_ffff_fe00n);

/** Host cluster in the entry of a table. */
export const clusterAt = (at: Places, entry: number): number => targetAt(at, entry) / at.clusterSize;

/** Turns the COPIED flag of an entry over. */
export const flag = ({ bytes }: Places, entry: number): void =>
  void (bytes[entry] = (bytes[entry] ?? 0) ^ 0x80);

export const setRefcount = ({ bytes, block }: Places, cluster: number, value: number): void =>
  void bytes.writeUInt16BE(value, block + 2 * cluster);
