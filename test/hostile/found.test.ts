/** What the fuzzer found, each in the smallest image that shows it. */
import { describe, expect, test } from "vitest";
import { snapshotTable } from "../../src/cli/views/snapshots.ts";
import { readImage } from "../../src/image/index.ts";
import { checkDisk } from "../../src/pool/check.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { applyPlan, planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";

const CLUSTER = 512;
const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 9,
  virtualSize: 64 * CLUSTER,
  headerLength: 104,
  snapshots: [{ name: "one", changes: [{ at: 0, count: 4, kind: "data", seed: 1 }] }],
  active: { changes: [{ at: 2, count: 4, kind: "data", seed: 2 }] },
};

function damaged(damage: (bytes: Buffer) => void, spec = SPEC): MemoryDisk {
  const bytes = Buffer.from(makeImage(spec));
  damage(bytes);
  return new MemoryDisk(bytes);
}

const u64 = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);
const repair = { type: "repair", image: "/memory/image.qcow2" } as const;
const create = { type: "create", image: "/memory/image.qcow2", name: "new" } as const;

describe("a refusal names the image", () => {
  test("of a snapshot table with too much extra data", async () => {
    const disk = damaged((bytes) => void bytes.writeUInt32BE(5000, u64(bytes, 64) + 36));
    await expect(readImage(disk)).rejects.toThrow(/^\/memory\/image\.qcow2: Too much extra metadata/);
  });

  test("of an L1 table with reserved bits", async () => {
    const disk = damaged((bytes) => void (bytes[u64(bytes, 40)] = 0xff));
    await expect(planOn(disk, create)).rejects.toThrow(/^\/memory\/image\.qcow2: L1 table at/);
  });
});

test("a refcount that cannot be counted is no overflow, and no Infinity", async () => {
  const disk = damaged(
    (bytes) => {
      const data = u64(bytes, u64(bytes, u64(bytes, 40)) + 8 * 2) / CLUSTER;
      const perBlock = CLUSTER / 8;
      const block = u64(bytes, u64(bytes, 48) + 8 * Math.floor(data / perBlock));
      bytes.writeBigUInt64BE(2n ** 63n, block + (data % perBlock) * 8);
    },
    { ...SPEC, refcountOrder: 6 },
  );
  await expect(planOn(disk, create)).rejects.toMatchObject({
    code: "IMAGE_INVALID",
    message: expect.stringMatching(/above 2\^53/) as unknown,
  });
  const { findings } = await checkDisk(disk);
  expect(findings.map(({ what }) => what).join()).toMatch(/refcount=9223372036854775808 reference=1/);
});

test("a bitmaps extension of a wrong length is refused, as by qemu, also where no autoclear bit vouches for it", async () => {
  const disk = damaged((bytes) => {
    bytes.writeUInt32BE(0x23852875, 104);
    bytes.writeUInt32BE(37, 108);
    bytes.writeBigUInt64BE(0n, 88);
  });
  for (const operation of [repair, create]) {
    await expect(planOn(disk, operation)).rejects.toMatchObject({
      code: "IMAGE_INVALID",
      message: expect.stringMatching(/Bitmaps extension has a wrong length/) as unknown,
    });
  }
});

test("an END marker of the header extensions with a length is refused, as by qemu", async () => {
  const disk = damaged((bytes) => void bytes.writeUInt32BE(0x7600, 108));
  await expect(readImage(disk)).rejects.toThrow(/Header extension too large/);
});

test("a repair clears the flag of a snapshot's L1 entry that points nowhere", async () => {
  const disk = damaged(
    (bytes) => {
      const l1 = u64(bytes, u64(bytes, 64));
      bytes[l1 + 8 * 3] = 0x80;
    },
    { ...SPEC, virtualSize: 4 * 64 * CLUSTER },
  );
  expect(await checkDisk(disk)).not.toMatchObject({ corruptions: 0 });
  const plan = await planOn(disk, repair);
  expect(plan.outcomes).toMatchObject([{ mended: { snapshotFlags: 1 } }]);
  await applyPlan(disk, plan);
  expect(await checkDisk(disk)).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
});

describe("a repair refuses what would stay an error of qemu-img check", () => {
  test.each([
    ["an unknown flag of a bitmap", (at: number) => at + 12, /persistent bitmaps: entry 0: unknown flags/],
    ["an entry of a bitmap's table with reserved bits", undefined, /table of bitmap 0 is invalid/],
  ])("%s", async (_, place, message) => {
    const disk = damaged(
      (bytes) => {
        const directory = u64(bytes, 104 + 8 + 16);
        bytes[place === undefined ? u64(bytes, directory) : place(directory)] = 0x7f;
      },
      { ...SPEC, bitmap: { name: "b", granularityBits: 9, seed: 1 } },
    );
    await expect(planOn(disk, repair)).rejects.toMatchObject({ code: "IMAGE_DAMAGED" });
    await expect(planOn(disk, repair)).rejects.toThrow(message);
  });

  test("a bitmap of a disk that is shorter than a sector", async () => {
    const disk = damaged((bytes) => void bytes.writeBigUInt64BE(1n, 24), {
      ...SPEC,
      bitmap: { name: "b", granularityBits: 9, seed: 1 },
    });
    await expect(planOn(disk, repair)).rejects.toThrow(/the table does not fit the disk/);
  });

  test("a subcluster that is allocated in no cluster", async () => {
    const spec: ImageSpec = { ...SPEC, clusterBits: 14, virtualSize: 2 ** 20, extendedL2: true };
    // The last entry of the table is used by nothing.
    const disk = damaged((bytes) => {
      bytes[u64(bytes, u64(bytes, 40)) + 2 ** 14 - 1] = 1;
    }, spec);
    await expect(planOn(disk, repair)).rejects.toThrow(/contradicts its subclusters/);
  });

  test("an encryption method without its header", async () => {
    const disk = damaged((bytes) => void bytes.writeUInt32BE(2, 32));
    await expect(planOn(disk, repair)).rejects.toThrow(/encryption method and encryption header do not fit/);
  });
});

test("space behind the end of the file is not given back", async () => {
  const disk = damaged((bytes) => {
    const block = u64(bytes, u64(bytes, 48));
    bytes.writeUInt16BE(1, block + CLUSTER - 2);
  });
  const plan = await planOn(disk, repair);
  expect(plan.outcomes).toMatchObject([{ mended: { leakedClusters: 1 } }]);
  expect([...plan.phases.discard]).toEqual([]);
});

test("a list with one long name among many does not grow by that for each", () => {
  const info = {
    id: "1",
    dateSec: 0,
    dateNsec: 0,
    vmStateSize: 0,
    vmClockNsec: 0n,
    icount: undefined,
    diskSize: 0,
  };
  const names = ["x".repeat(60_000), ...Array.from({ length: 20_000 }, () => "y")];
  const lines = [...snapshotTable(names.map((name) => ({ ...info, name })))];
  expect(lines.join("\n").length).toBeLessThan(10_000_000);
});
