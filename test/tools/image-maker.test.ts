import { createHash } from "node:crypto";
import { stat, writeFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import {
  compressible,
  makeImage,
  noise,
  randomSpec,
  seededRandom,
  writeImage,
} from "../../tools/image-maker/index.ts";
import type { ImageSpec } from "../../tools/image-maker/index.ts";
import { checkImage, describeCheck, inspectImage, readRoot } from "../support/naive-qcow2.ts";
import { io, judge, rawBytes, requireQemu, sameContent, tempDir } from "../support/qemu.ts";

beforeAll(requireQemu);

const BACKING = { name: "base.raw", format: "raw" };
const BACKING_BYTES = noise(99, 256 * 1024);

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Writes the image beside its backing file. */
async function putImage(bytes: Uint8Array): Promise<string> {
  const dir = await tempDir();
  await writeFile(join(dir, BACKING.name), BACKING_BYTES);
  const path = join(dir, "image.qcow2");
  await writeFile(path, bytes);
  return path;
}

/** What qemu-img converts and what the naive reader sees must be the same bytes. */
async function expectSameContent(path: string, bytes: Uint8Array): Promise<void> {
  const backing = BACKING_BYTES;
  const { header, snapshots } = inspectImage(bytes);
  expect(sha256(readRoot(bytes, "active", { backing })), "active").toBe(sha256(await rawBytes(path)));
  const ids = snapshots.map(({ id }) => id);
  for (const { id, position, diskSize } of snapshots) {
    // QEMU finds the first of several equal ids, and converts as many bytes as the disk has now.
    if (ids.indexOf(id) !== position) continue;
    const naive = readRoot(bytes, position, { backing });
    const common = Math.min(diskSize, header.virtualSize);
    const qemu = await rawBytes(path, { snapshotId: id });
    expect(sha256(naive.subarray(0, common)), `snapshot ${id}`).toBe(sha256(qemu.subarray(0, common)));
  }
}

describe("the image maker", () => {
  const SEEDS = Array.from({ length: 150 }, (_, seed) => seed);

  test.each(SEEDS)("makes a clean image that both readers see alike, seed %i", async (seed) => {
    const maxClusterBits = seed % 50 === 0 ? 21 : 16;
    const bytes = makeImage(randomSpec(seededRandom(seed), { backing: BACKING, maxClusterBits }));
    const path = await putImage(bytes);
    await judge(path);
    await expectSameContent(path, bytes);
  });

  test("reaches all dimensions with those seeds", () => {
    const specs = SEEDS.map((seed) => randomSpec(seededRandom(seed), { backing: BACKING }));
    const seen = (of: (spec: ImageSpec) => unknown): Set<unknown> => new Set(specs.map(of));
    expect(seen((spec) => spec.refcountOrder).size).toBe(7);
    expect(seen((spec) => spec.clusterBits).size).toBeGreaterThanOrEqual(8);
    expect(seen((spec) => spec.version).size).toBe(2);
    expect(seen((spec) => spec.extendedL2).size).toBe(2);
    expect(seen((spec) => spec.compression).size).toBe(2);
    expect(seen((spec) => spec.backing === undefined).size).toBe(2);
    expect(seen((spec) => spec.bitmap === undefined).size).toBe(2);
    expect(seen((spec) => spec.room === undefined).size).toBe(2);
    expect(seen((spec) => spec.snapshots?.length).size).toBeGreaterThanOrEqual(5);
    const kinds = specs.flatMap((spec) =>
      [...(spec.snapshots ?? []), spec.active ?? {}].flatMap(({ changes = [] }) =>
        changes.map(({ kind }) => kind),
      ),
    );
    expect(new Set(kinds).size).toBe(7);
  });

  test("writes a sparse file with the same bytes", async () => {
    const spec = randomSpec(seededRandom(7));
    const path = join(await tempDir(), "image.qcow2");
    await writeImage(path, spec);
    expect(Buffer.compare(await readFile(path), makeImage(spec))).toBe(0);
  });

  test("puts the bytes of the seed where the description says", () => {
    const bytes = makeImage({
      version: 3,
      clusterBits: 12,
      virtualSize: 1 << 20,
      active: {
        changes: [
          { at: 3, kind: "data", seed: 41 },
          { at: 9, kind: "compressed", seed: 42 },
        ],
      },
    });
    const content = readRoot(bytes, "active");
    const expected = new Uint8Array(1 << 20);
    expected.set(noise(41, 4096), 3 * 4096);
    expected.set(compressible(42, 4096), 9 * 4096);
    expect(sha256(content)).toBe(sha256(expected));
  });

  test("puts VM state where QEMU looks for it", async () => {
    const bytes = makeImage({
      version: 3,
      clusterBits: 12,
      virtualSize: (3 << 20) + 512,
      snapshots: [{ name: "running", vmState: [{ at: 1, kind: "data", seed: 21 }] }],
      active: { keepVmState: true },
    });
    const path = await putImage(bytes);
    const dump = await io(path, "read -b -v 4096 512");
    const hex = [...dump.matchAll(/^[0-9a-f]{8}: {2}((?:[0-9a-f]{2} )+)/gm)].map((line) => line[1] ?? "");
    expect(hex.join("").replaceAll(" ", "")).toBe(Buffer.from(noise(21, 512)).toString("hex"));
    const { active, snapshots } = inspectImage(bytes);
    expect(snapshots[0]?.vmStateSize).toBe(2 * 4096);
    expect(snapshots[0]?.vmStateDigest).toBe(active.vmAreaDigest);
  });

  test("shares an L2 table that no change touched, and copies the others", () => {
    const bytes = makeImage({
      version: 3,
      clusterBits: 9,
      virtualSize: 64 * 1024,
      snapshots: [
        {
          name: "one",
          changes: [
            { at: 0, kind: "data" },
            { at: 64, kind: "data" },
          ],
        },
      ],
      active: { changes: [{ at: 1, kind: "data" }] },
    });
    const { active, snapshots } = inspectImage(bytes);
    const l1 = (offset: number): number[] => {
      const fields = new DataView(bytes.buffer, offset, 16);
      return [0, 8].map((at) => Number(fields.getBigUint64(at) & 0xffff_ffff_fe00n));
    };
    const [activeFirst, activeSecond] = l1(active.l1Offset);
    const [snapshotFirst, snapshotSecond] = l1(snapshots[0]?.l1Offset ?? 0);
    expect(activeFirst).not.toBe(snapshotFirst);
    expect(activeSecond).toBe(snapshotSecond);
  });

  test("lets one compressed stream touch three host clusters, and several share one", async () => {
    const bytes = makeImage({
      version: 3,
      clusterBits: 12,
      virtualSize: 1 << 20,
      active: {
        changes: [
          { at: 0, count: 10, kind: "compressed", seed: 1 },
          { at: 20, kind: "compressed", seed: 2, span: 3 },
          { at: 30, kind: "compressed", seed: 3, span: 2 },
        ],
      },
    });
    const path = await putImage(bytes);
    await judge(path);
    await expectSameContent(path, bytes);
  });

  test.each([
    ["one free entry in the last refcount block", { freeInLastRefcountBlock: 1 }],
    ["a full refcount block", { freeInLastRefcountBlock: 0 }],
    ["a full refcount table", { freeInLastRefcountBlock: 0, refcountTableFull: true }],
  ])("fills up to %s", async (_, room) => {
    const spec: ImageSpec = {
      version: 3,
      clusterBits: 9,
      refcountOrder: 6,
      virtualSize: 4 << 20,
      snapshots: [{ name: "one", changes: [{ at: 5, count: 3, kind: "data" }] }],
      room,
    };
    const bytes = makeImage(spec);
    const path = await putImage(bytes);
    await judge(path);
    const clusters = bytes.length / 512;
    expect((64 - (clusters % 64)) % 64).toBe(room.freeInLastRefcountBlock);
    if ("refcountTableFull" in room) {
      expect(clusters / 64).toBe(inspectImage(bytes).header.refcountTableClusters * 64);
    }
  });

  test("leaves a file that stops in the middle of its last cluster", async () => {
    const bytes = makeImage({
      version: 3,
      clusterBits: 12,
      virtualSize: 1 << 20,
      snapshots: [{ name: "short", changes: [{ at: 0, kind: "data" }] }],
      placement: { order: "random", seed: 3, endMidCluster: true },
    });
    expect(bytes.length % 4096).not.toBe(0);
    await judge(await putImage(bytes));
  });

  test("refuses a description that no refcount width can hold", () => {
    const spec: ImageSpec = {
      version: 3,
      clusterBits: 12,
      refcountOrder: 0,
      virtualSize: 1 << 20,
      snapshots: [{ name: "one", changes: [{ at: 0, kind: "data" }] }],
    };
    expect(() => makeImage(spec)).toThrow(/does not fit/);
  });

  test("makes an image for demonstrations that takes little space", async () => {
    const dir = await tempDir();
    const path = join(dir, "demo.qcow2");
    const snapshots = ["installed", "updated"].map((name, i) => ({
      name,
      changes: [{ at: i * 16, count: 24, kind: "data" as const, seed: 100 * (i + 1) }],
    }));
    await writeImage(path, { version: 3, clusterBits: 16, virtualSize: 64 << 20, snapshots });
    await judge(path);
    expect((await stat(path)).size).toBeLessThan(8 << 20);
    expect(await sameContent(path, path)).toBe(true);
  });
});

describe("the naive checker", () => {
  test("agrees that every image of the maker is clean", () => {
    for (let seed = 1000; seed < 1100; seed++) {
      const bytes = makeImage(randomSpec(seededRandom(seed), { maxClusterBits: 12 }));
      expect(describeCheck(checkImage(bytes)), `seed ${seed}`).toBe("clean");
    }
  });
});
