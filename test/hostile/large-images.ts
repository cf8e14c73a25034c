/** Small amounts of data that ask for large work. */
import { type FileHandle, open } from "node:fs/promises";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

interface Header {
  readonly clusterBits: number;
  readonly virtualSize: number;
  readonly l1: readonly [offset: number, entries: number];
  readonly refcountTable: readonly [offset: number, clusters: number];
  readonly snapshots?: readonly [offset: number, count: number];
}

type Part = readonly [offset: number, bytes: Uint8Array];

/** A file of which only some parts are not zeros. */
export interface LargeImage {
  readonly size: number;
  readonly parts: readonly Part[];
}

export async function writeTo(path: string, { size, parts }: LargeImage): Promise<void> {
  const file: FileHandle = await open(path, "w");
  try {
    await file.truncate(size);
    for (const [offset, part] of parts) await file.write(part, 0, part.length, offset);
  } finally {
    await file.close();
  }
}

function imageOf(size: number, header: Header, parts: readonly Part[]): LargeImage {
  const head = Buffer.alloc(512);
  const { l1, refcountTable, snapshots = [0, 0] } = header;
  head.writeUInt32BE(0x514649fb, 0);
  head.writeUInt32BE(3, 4);
  head.writeUInt32BE(header.clusterBits, 20);
  head.writeBigUInt64BE(BigInt(header.virtualSize), 24);
  head.writeUInt32BE(l1[1], 36);
  head.writeBigUInt64BE(BigInt(l1[0]), 40);
  head.writeBigUInt64BE(BigInt(refcountTable[0]), 48);
  head.writeUInt32BE(refcountTable[1], 56);
  head.writeUInt32BE(snapshots[1], 60);
  head.writeBigUInt64BE(BigInt(snapshots[0]), 64);
  head.writeUInt32BE(4, 96);
  head.writeUInt32BE(104, 100);
  return { size, parts: [[0, head], ...parts] };
}

function words(count: number, value: (index: number) => number): Uint8Array {
  const bytes = Buffer.alloc(count * 8);
  for (let index = 0; index < count; index += 1) {
    const word = value(index);
    bytes.writeUInt32BE(Math.floor(word / 2 ** 32), index * 8);
    bytes.writeUInt32BE(word % 2 ** 32, index * 8 + 4);
  }
  return bytes;
}

/** Refcounts of 1 for the first clusters. */
function refcounts(clusterSize: number, used: number): Uint8Array {
  const bytes = Buffer.alloc(clusterSize);
  for (let cluster = 0; cluster < used; cluster += 1) bytes.writeUInt16BE(1, cluster * 2);
  return bytes;
}

/** 65,536 snapshots, whose L1 tables are where `table` says. */
function snapshotTable(table: (index: number) => readonly [offset: number, entries: number]): Uint8Array {
  const entryBytes = 64;
  const bytes = Buffer.alloc(65_536 * entryBytes);
  for (let index = 0; index < 65_536; index += 1) {
    const [offset, entries] = table(index);
    bytes.writeBigUInt64BE(BigInt(offset), index * entryBytes);
    bytes.writeUInt32BE(entries, index * entryBytes + 8);
    bytes.writeUInt32BE(24, index * entryBytes + 36);
    bytes.writeBigUInt64BE(BigInt(MIB), index * entryBytes + 48);
  }
  return bytes;
}

const BASE: readonly Part[] = [
  [64 * KIB, words(1, () => 128 * KIB)],
  [128 * KIB, refcounts(64 * KIB, 2000)],
];
const WIDE = { clusterBits: 16, virtualSize: MIB, refcountTable: [64 * KIB, 1] } as const;

const snapshotsAt = (table: (index: number) => readonly [number, number]): LargeImage =>
  imageOf(112 * MIB, { ...WIDE, l1: [192 * KIB, 2], snapshots: [16 * MIB, 65_536] }, [
    ...BASE,
    [16 * MIB, snapshotTable(table)],
    [64 * MIB, words(4_194_304, () => 256 * KIB)],
  ]);

const SCATTERED_TABLES = 128;
/** A prime number of clusters: no two references are near each other. */
const STRIDE = 193 * 64 * KIB;

export interface LargeCase {
  readonly name: string;
  readonly make: () => LargeImage;
  /** A check counts at least so many. */
  readonly corruptions: number;
}

export const LARGE_IMAGES: readonly LargeCase[] = [
  {
    name: "an L1 table of 4 M entries with one L2 table",
    make: () =>
      imageOf(48 * MIB, { ...WIDE, virtualSize: 2 ** 41, l1: [256 * KIB, 4_194_304] }, [
        ...BASE,
        [192 * KIB, words(700, (index) => 33 * MIB + index * 64 * KIB)],
        [256 * KIB, words(4_194_304, () => 192 * KIB)],
      ]),
    corruptions: 4_194_304,
  },
  {
    name: "1 M refcount table slots for one block, in a sparse file of 128 GiB",
    make: () =>
      imageOf(2 ** 37, { clusterBits: 9, virtualSize: MIB, l1: [1024, 32], refcountTable: [MIB, 16_384] }, [
        [512, refcounts(512, 256)],
        [MIB, words(1_048_576, () => 512)],
      ]),
    corruptions: 1_048_575,
  },
  {
    name: "65,536 snapshots that share an L1 table of 32 MiB",
    make: () => snapshotsAt(() => [64 * MIB, 4_194_304]),
    corruptions: 65_536,
  },
  {
    name: "65,536 snapshots with L1 tables that overlap",
    make: () => snapshotsAt((index) => [64 * MIB + (index % 128) * 64 * KIB, 4_000_000 - index]),
    corruptions: 65_536,
  },
  {
    name: "65,536 snapshots with L1 tables of 8 KiB each, in a sparse file of 640 MiB",
    make: () =>
      imageOf(640 * MIB, { ...WIDE, clusterBits: 13, l1: [192 * KIB, 2], snapshots: [16 * MIB, 65_536] }, [
        [64 * KIB, words(1, () => 128 * KIB)],
        [128 * KIB, refcounts(8 * KIB, 2000)],
        [16 * MIB, snapshotTable((index) => [64 * MIB + index * 8 * KIB, 1024])],
      ]),
    corruptions: 60_000,
  },
  {
    name: `${SCATTERED_TABLES} L2 tables whose entries are scattered over a sparse file of 14 TiB`,
    make: () =>
      imageOf(14 * TIB, { ...WIDE, virtualSize: 64 * GIB, l1: [192 * KIB, SCATTERED_TABLES] }, [
        ...BASE,
        [192 * KIB, words(SCATTERED_TABLES, (index) => MIB + index * 64 * KIB)],
        [MIB, words(SCATTERED_TABLES * 8192, (index) => 16 * MIB + index * STRIDE)],
      ]),
    corruptions: 1_000_000,
  },
  {
    name: "1 M refcount blocks, in a sparse file of 128 GiB",
    make: () =>
      imageOf(2 ** 37, { clusterBits: 9, virtualSize: MIB, l1: [1024, 32], refcountTable: [MIB, 16_384] }, [
        [512, refcounts(512, 256)],
        [MIB, words(1_048_576, (index) => (index === 0 ? 512 : 16 * MIB + index * 512))],
      ]),
    corruptions: 1_000_000,
  },
];

/** A sound image whose snapshot table is as long as QEMU reads: 65,535 snapshots, in a row of entries of 1 KiB. */
export function withFullTable(extraBytes: number, idBytes: number, nameBytes: number): LargeImage {
  const [count, entryBytes, tableAt] = [65_535, KIB, MIB];
  const table = Buffer.alloc(count * entryBytes);
  for (let index = 0; index < count; index += 1) {
    const entry = table.subarray(index * entryBytes, (index + 1) * entryBytes);
    entry.writeUInt16BE(idBytes, 12);
    entry.writeUInt16BE(nameBytes, 14);
    entry.writeUInt32BE(extraBytes, 36);
    entry.writeBigUInt64BE(BigInt(MIB), 48);
    const [id, name] = [40 + extraBytes, 40 + extraBytes + idBytes];
    entry.fill("x", id, name + nameBytes);
    for (const at of [id, name]) entry.write(String(index).padStart(8, "0"), at);
  }
  const clusters = refcounts(64 * KIB, (tableAt + table.length) / (64 * KIB));
  // Between the active L1 table and the snapshot table is nothing.
  clusters.fill(0, 4 * 2, 16 * 2);
  return imageOf(tableAt + table.length, { ...WIDE, l1: [192 * KIB, 1], snapshots: [tableAt, count] }, [
    [64 * KIB, words(1, () => 128 * KIB)],
    [128 * KIB, clusters],
    [tableAt, table],
  ]);
}

/**
 * 4 M different L2 tables, as many as an L1 table has entries, all in a hole: 256
 * GiB of zeros. Whether a table is in a hole only the kernel knows, and Node has
 * no call to ask it, so each is read, as qemu-img reads it.
 */
export const tablesInHole = (): LargeImage =>
  imageOf(320 * GIB, { ...WIDE, virtualSize: 2 ** 41, l1: [MIB, 4_194_304] }, [
    ...BASE,
    [MIB, words(4_194_304, (index) => 64 * MIB + index * 64 * KIB)],
  ]);
