import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { ErrorCode } from "../../src/errors/index.ts";
import { readImage } from "../../src/image/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { planOn } from "../support/apply-plan.ts";
import { damaged } from "../support/mend.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { clusterAt, setRefcount } from "../support/places.ts";
import { run } from "../support/programs.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";

beforeAll(requireQemu);

const u32 = (value: number): number[] => [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff);
const u64 = (value: bigint): number[] => [...u32(Number(value >> 32n)), ...u32(Number(value & 0xffff_ffffn))];

type Poke = readonly [offset: number, bytes: readonly number[]];

interface Case {
  readonly name: string;
  readonly pokes: readonly Poke[];
  readonly code: ErrorCode;
  readonly message: RegExp;
  /** False where we are stricter than QEMU, which opens it. */
  readonly qemuRefuses?: boolean;
  readonly version?: 2;
}

const CASES: readonly Case[] = [
  {
    name: "another magic",
    pokes: [[0, [0x51, 0x46, 0x49, 0xfa]]],
    code: "IMAGE_NOT_QCOW2",
    message: /not a qcow2/,
    qemuRefuses: false,
  },
  { name: "version 1", pokes: [[4, u32(1)]], code: "IMAGE_UNSUPPORTED", message: /version 1/ },
  { name: "version 4", pokes: [[4, u32(4)]], code: "IMAGE_UNSUPPORTED", message: /version 4/ },
  { name: "cluster bits 8", pokes: [[20, u32(8)]], code: "IMAGE_INVALID", message: /Cluster size/ },
  { name: "cluster bits 22", pokes: [[20, u32(22)]], code: "IMAGE_INVALID", message: /Cluster size/ },
  {
    name: "cluster bits 2^32 - 1",
    pokes: [[20, u32(0xffff_ffff)]],
    code: "IMAGE_INVALID",
    message: /Cluster size/,
  },
  { name: "header length 103", pokes: [[100, u32(103)]], code: "IMAGE_INVALID", message: /header too short/ },
  {
    name: "four zeros left for header extensions",
    pokes: [[100, u32(65532)]],
    code: "IMAGE_INVALID",
    message: /Header extension too large/,
  },
  {
    name: "backing name of 1024 bytes",
    pokes: [
      [8, u64(0x1000n)],
      [16, u32(1024)],
    ],
    code: "IMAGE_INVALID",
    message: /Backing file name too long/,
  },
  {
    name: "refcount table of 0 clusters",
    pokes: [[56, u32(0)]],
    code: "IMAGE_INVALID",
    message: /does not contain a reference count table/,
  },
  {
    name: "65537 snapshots",
    pokes: [[60, u32(65_537)]],
    code: "IMAGE_INVALID",
    message: /Snapshot table too large/,
  },
  {
    name: "L1 of one entry over 32 MiB",
    pokes: [[36, u32(4_194_305)]],
    code: "IMAGE_INVALID",
    message: /Active L1 table too large/,
  },
  {
    name: "a virtual size of 2^64 - 1",
    pokes: [[24, u64(0xffff_ffff_ffff_ffffn)]],
    code: "IMAGE_INVALID",
    message: /Virtual size|too small/,
  },
  { name: "refcounts of 128 bits", pokes: [[96, u32(7)]], code: "IMAGE_INVALID", message: /Refcount width/ },
  {
    name: "encryption method 3",
    pokes: [[32, u32(3)]],
    code: "IMAGE_UNSUPPORTED",
    message: /encryption method 3/,
  },
  {
    name: "incompatible bit 5",
    pokes: [[72, u64(1n << 5n)]],
    code: "IMAGE_UNSUPPORTED",
    message: /incompatible feature/,
  },
  {
    name: "incompatible bit 63",
    pokes: [[72, u64(1n << 63n)]],
    code: "IMAGE_UNSUPPORTED",
    message: /incompatible feature/,
  },
  {
    name: "zstd without its feature bit",
    pokes: [[104, [1]]],
    code: "IMAGE_INVALID",
    message: /Compression type/,
  },
  {
    name: "the compression bit with zlib",
    pokes: [[72, u64(8n)]],
    code: "IMAGE_INVALID",
    message: /Compression type/,
  },
  {
    name: "compression type 2",
    pokes: [
      [72, u64(8n)],
      [104, [2]],
    ],
    code: "IMAGE_UNSUPPORTED",
    message: /compression type 2/,
  },
  {
    name: "version 2 with a version flag of another program",
    pokes: [[4, u32(0x4000_0002)]],
    code: "IMAGE_UNSUPPORTED",
    message: /version/,
    version: 2,
  },
];

function poked(base: Uint8Array, pokes: readonly Poke[]): Uint8Array {
  const bytes = base.slice();
  for (const [offset, values] of pokes) bytes.set(values, offset);
  return bytes;
}

const base = (version: 2 | 3): Uint8Array =>
  makeImage({
    version,
    clusterBits: 16,
    virtualSize: 64 * 1024 * 1024,
    active: { changes: [{ at: 0, kind: "data", count: 3 }] },
  });

describe("a malformed header is refused before anything is allocated from it", () => {
  test.each(CASES)("$name", async ({ pokes, code, message, version, qemuRefuses = true }) => {
    const bytes = poked(base(version ?? 3), pokes);
    const error: unknown = await readImage(new MemoryDisk(bytes)).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code });
    expect(String(error)).toMatch(message);
    const path = join(await tempDir(), "image.qcow2");
    await writeFile(path, bytes);
    if (qemuRefuses) expect((await run("qemu-img", ["info", "-f", "qcow2", path])).code).not.toBe(0);
  });

  test.each([1, 71, 72, 103, 104, 200])("a file that ends after %i bytes", async (length) => {
    const disk = new MemoryDisk(base(3).slice(0, length));
    await expect(planOn(disk, { type: "create", image: disk.path, name: "s" })).rejects.toMatchObject({
      name: "QcowalError",
    });
  });

  test("an empty file", async () => {
    await expect(readImage(new MemoryDisk())).rejects.toMatchObject({ code: "IMAGE_NOT_QCOW2" });
  });
});

describe("metadata that looks sound and is not is refused by the planner", () => {
  const create = { type: "create", image: "/memory/image.qcow2", name: "s" } as const;
  const image = (): Uint8Array => base(3);
  const table = (bytes: Uint8Array, offset: number): number =>
    Number(new DataView(bytes.buffer).getBigUint64(offset));
  const l2At = (bytes: Uint8Array): number => {
    const entry = new DataView(bytes.buffer).getBigUint64(table(bytes, 40));
    return Number(entry & 0x00ff_ffff_ffff_fe00n);
  };

  test.each([
    ["is not aligned", 0x8000_0000_0005_0200n, /invalid/],
    ["has reserved bits", 0x8000_0000_0005_0002n, /invalid/],
  ])("an L2 entry that %s", async (_, entry, message) => {
    const bytes = image();
    new DataView(bytes.buffer).setBigUint64(l2At(bytes), entry);
    const disk = new MemoryDisk(bytes);
    await expect(planOn(disk, create)).rejects.toMatchObject({ code: "IMAGE_INVALID" });
    await expect(planOn(disk, create)).rejects.toThrow(message);
    expect(Buffer.compare(disk.bytes(), bytes)).toBe(0);
  });

  test("an L1 entry with reserved bits", async () => {
    const bytes = image();
    const at = table(bytes, 40);
    bytes[at] = 0xff;
    await expect(planOn(new MemoryDisk(bytes), create)).rejects.toMatchObject({ code: "IMAGE_INVALID" });
  });

  test("a refcount table that names a block twice", async () => {
    const bytes = image();
    const at = table(bytes, 48);
    bytes.copyWithin(at + 8, at, at + 8);
    await expect(planOn(new MemoryDisk(bytes), create)).rejects.toThrow(/two slots/);
  });

  test("a refcount table that names a block behind the end of the file", async () => {
    const bytes = image();
    new DataView(bytes.buffer).setBigUint64(table(bytes, 48) + 8, 0x4000_0000_0000n);
    await expect(planOn(new MemoryDisk(bytes), create)).rejects.toThrow(/behind the end/);
  });

  test("metadata whose refcount is 0, because its clusters would be handed out again", async () => {
    for (const cluster of [0, table(image(), 40) / 65_536, table(image(), 48) / 65_536]) {
      const bytes = image();
      const block = Number(new DataView(bytes.buffer).getBigUint64(table(bytes, 48)));
      bytes.fill(0, block + cluster * 2, block + cluster * 2 + 2);
      await expect(planOn(new MemoryDisk(bytes), create)).rejects.toThrow(/refcount is 0/);
    }
  });

  test("a cluster of the disk whose refcount is 0, because it would be handed out again", async () => {
    // When a snapshot goes the active layer's tables are not counted; those in the places of the snapshot's are looked at for their flags.
    const { disk } = damaged((at) => {
      const own = Array.from({ length: 30 }, (_, index) => clusterAt(at, at.l2 + (7 + index) * 8));
      setRefcount(at, Math.min(...own), 0);
    });
    const remove = { type: "delete", image: disk.path, name: "one" } as const;
    await expect(planOn(disk, remove)).rejects.toThrow(/in use but its refcount is 0/);
  });

  test.each([
    ["dirty", 1n],
    ["corrupt", 2n],
  ])("a %s image", async (_, bit) => {
    const bytes = poked(image(), [[72, u64(bit)]]);
    await expect(planOn(new MemoryDisk(bytes), create)).rejects.toMatchObject({ code: "IMAGE_DAMAGED" });
  });

  test("an image with an external data file", async () => {
    const bytes = poked(image(), [[72, u64(4n)]]);
    await expect(planOn(new MemoryDisk(bytes), create)).rejects.toMatchObject({ code: "IMAGE_UNSUPPORTED" });
  });
});
