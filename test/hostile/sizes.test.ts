/** Small files that ask for large work: each entry point ends within 5 s of the processor, and says what is wrong. */
import { describe, expect, test } from "vitest";
import { QcowalError } from "../../src/errors/index.ts";
import { checkDisk } from "../../src/pool/check.ts";
import { snapshotsOn } from "../../src/pool/list-snapshots.ts";
import { planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { SparseBytes } from "../support/sparse-bytes.ts";

/** 5 s on a core of its own; one that is shared with other work is slower by up to a half. */
const MAX_CPU_MS = 7500;
const KIB = 1024;
const MIB = 1024 * KIB;

interface Header {
  readonly clusterBits: number;
  readonly virtualSize: number;
  readonly l1: readonly [offset: number, entries: number];
  readonly refcountTable: readonly [offset: number, clusters: number];
  readonly snapshots?: readonly [offset: number, count: number];
}

type Part = readonly [offset: number, bytes: Uint8Array];

function imageOf(size: number, header: Header, parts: readonly Part[]): MemoryDisk {
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
  const bytes = new SparseBytes(size);
  for (const [offset, part] of [[0, head] as const, ...parts]) bytes.write(offset, part);
  return new MemoryDisk(bytes);
}

function words(count: number, value: (index: number) => number): Uint8Array {
  const bytes = Buffer.alloc(count * 8);
  for (let index = 0; index < count; index += 1) bytes.writeBigUInt64BE(BigInt(value(index)), index * 8);
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

const snapshotsAt = (table: (index: number) => readonly [number, number]): MemoryDisk =>
  imageOf(112 * MIB, { ...WIDE, l1: [192 * KIB, 2], snapshots: [16 * MIB, 65_536] }, [
    ...BASE,
    [16 * MIB, snapshotTable(table)],
    [64 * MIB, words(4_194_304, () => 256 * KIB)],
  ]);

const IMAGES: readonly (readonly [name: string, make: () => MemoryDisk, corruptions: number])[] = [
  [
    "an L1 table of 4 M entries with one L2 table",
    () =>
      imageOf(48 * MIB, { ...WIDE, virtualSize: 2 ** 41, l1: [256 * KIB, 4_194_304] }, [
        ...BASE,
        [192 * KIB, words(700, (index) => 33 * MIB + index * 64 * KIB)],
        [256 * KIB, words(4_194_304, () => 192 * KIB)],
      ]),
    4_194_304,
  ],
  [
    "1 M refcount table slots for one block, in a sparse file of 128 GiB",
    () =>
      imageOf(2 ** 37, { clusterBits: 9, virtualSize: MIB, l1: [1024, 32], refcountTable: [MIB, 16_384] }, [
        [512, refcounts(512, 256)],
        [MIB, words(1_048_576, () => 512)],
      ]),
    1_048_575,
  ],
  [
    "65,536 snapshots that share an L1 table of 32 MiB",
    () => snapshotsAt(() => [64 * MIB, 4_194_304]),
    65_536,
  ],
  [
    "65,536 snapshots with L1 tables that overlap",
    () => snapshotsAt((index) => [64 * MIB + (index % 128) * 64 * KIB, 4_000_000 - index]),
    65_536,
  ],
];

async function withinLimit(action: () => Promise<unknown>): Promise<unknown> {
  const began = process.cpuUsage();
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof QcowalError)) throw error;
    return undefined;
  } finally {
    const { user, system } = process.cpuUsage(began);
    expect((user + system) / 1000, "milliseconds of the processor").toBeLessThan(MAX_CPU_MS);
  }
}

describe.each(IMAGES)("%s", (_, make, corruptions) => {
  test("takes no entry point more than 5 s", async () => {
    const disk = make();
    const image = disk.path;
    const report = await checkDisk(disk);
    expect(report.corruptions).toBeGreaterThanOrEqual(corruptions);
    expect(report.findings.length).toBe(1000);
    await withinLimit(() => checkDisk(disk, { usage: true }));
    await withinLimit(() => snapshotsOn(disk));
    await withinLimit(() => planOn(disk, { type: "create", image, name: "new" }));
    await withinLimit(() => planOn(disk, { type: "delete", image, id: "" }));
    await withinLimit(() => planOn(disk, { type: "repair", image }));
    await withinLimit(() => planOn(disk, { type: "repair", image, dropDamagedSnapshots: true }));
    expect(disk.events).toBe(0);
  });
});
