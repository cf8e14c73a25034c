import { describe, expect, test } from "vitest";
import { currentActor, repairByScan } from "../../src/engine/index.ts";
import { fencePatches } from "../../src/format/index.ts";
import { readHead, readImage } from "../../src/image/index.ts";
import { planRepair } from "../../src/plan/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { visible } from "../support/model.ts";
import { checkImage, describeCheck, inspectImage, parseHeader } from "../support/naive-qcow2.ts";
import { FileBytes } from "../support/naive-qcow2/file.ts";

const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 2 ** 20,
  snapshots: [{ name: "one", changes: [{ at: 0, count: 20, kind: "data", seed: 1 }] }],
  active: { changes: [{ at: 7, count: 30, kind: "data", seed: 3 }] },
};

/** A clean image with a fence that nobody's transaction set, after `damage`. */
async function fenced(damage: (view: DataView, at: Places) => void, spec = SPEC): Promise<MemoryDisk> {
  const bytes = Buffer.from(makeImage(spec));
  damage(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), placesIn(bytes));
  const disk = new MemoryDisk(bytes);
  const { header, area, cluster } = await readHead(disk);
  const owner = { journal: "/gone", journalId: "id", transaction: 7 };
  for (const { offset, after } of fencePatches(header, area, cluster, owner)) await disk.write(offset, after);
  return disk.reopen();
}

interface Places {
  readonly l1: number;
  readonly l2: number;
  /** Refcount block. */
  readonly block: number;
  /** An L2 entry that points to data. */
  readonly entry: number;
}

function placesIn(bytes: Buffer): Places {
  const { l1Offset, refcountTableOffset } = parseHeader(new FileBytes(bytes), {});
  const target = (at: number): number => Number(bytes.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);
  const l2 = target(l1Offset);
  return { l1: l1Offset, l2, block: target(refcountTableOffset), entry: l2 + 8 * 10 };
}

const repair = (disk: MemoryDisk) =>
  repairByScan(
    {
      openDisk: async () => Promise.resolve(disk),
      resolvePath: async (path) => Promise.resolve(path),
      fileId: async () => Promise.resolve({ device: 1, inode: 1 }),
      now: () => 0,
      program: "test",
    },
    disk.path,
    { actor: currentActor("test", undefined) },
  );

describe("what no interrupted operation leaves is refused before the first write:", () => {
  test.each<[string, RegExp, (view: DataView, at: Places) => void]>([
    [
      "two owners of one cluster",
      /cluster \d+ belongs to metadata and to data/,
      (view, { entry, l1 }) => view.setBigUint64(entry, BigInt(l1)),
    ],
    [
      "an L2 table that is also data",
      /belongs to (an L2 table and to data|data and to an L2 table)/,
      (view, { entry, l2 }) => view.setBigUint64(entry, BigInt(l2)),
    ],
    [
      "data behind the end of the file",
      /entry 10 of the L2 table at 0x[\da-f]+ points behind the end/,
      (view, { entry }) => view.setBigUint64(entry, 1n << 40n),
    ],
    [
      "an L2 table behind the end of the file",
      /the active L1 table points behind the end/,
      (view, { l1 }) => view.setBigUint64(l1, 1n << 40n),
    ],
    [
      "an unaligned L2 table",
      /L1 table .*entry 0 is invalid/,
      (view, { l1, l2 }) => view.setBigUint64(l1, BigInt(l2 + 512)),
    ],
    [
      "reserved bits",
      /entry 10 of the L2 table .* is invalid/,
      (view, { entry }) => view.setUint8(entry, 0x20),
    ],
    [
      "an L1 table that is behind the end",
      /the active L1 table at .* reaches behind the end/,
      (view) => view.setBigUint64(40, 1n << 40n),
    ],
  ])("%s", async (_what, message, damage) => {
    const disk = await fenced(damage);
    const before = Buffer.from(disk.bytes());
    await expect(repair(disk)).rejects.toMatchObject({
      code: "IMAGE_DAMAGED",
      message: expect.stringMatching(message),
      details: { path: disk.path, findings: expect.arrayContaining([expect.stringMatching(message)]) },
    });
    expect(disk.events).toBe(0);
    expect(before.equals(Buffer.from(disk.bytes()))).toBe(true);
  });
});

describe("what an interrupted repair had not come to is mended:", () => {
  test.each<[string, (view: DataView, at: Places) => void]>([
    [
      "refcounts that are too low",
      (view, { block }) => {
        for (let cluster = 0; cluster < 40; cluster++) view.setUint16(block + 2 * cluster, 0);
      },
    ],
    ["the dirty bit", (view) => view.setUint8(79, 1)],
    ["the corrupt bit", (view) => view.setUint8(79, 2)],
    [
      "a refcount block that is named twice",
      (view) => {
        const table = Number(view.getBigUint64(48));
        view.setBigUint64(table + 8, view.getBigUint64(table));
      },
    ],
  ])("%s", async (_what, damage) => {
    const disk = await fenced(damage);
    await repair(disk);
    expect(describeCheck(checkImage(disk.bytes()))).toBe("clean");
    expect(disk.bytes()[79]).toBe(0);
    expect(visible(disk.bytes())).toEqual(visible(makeImage(SPEC)));
  });
});

test("leaks of any width and wrong flags are found, wherever they are, and what is right is not touched", async () => {
  for (const refcountOrder of [1, 2, 3, 4, 5, 6]) {
    const disk = await fenced(
      (view, { l1, entry }) => {
        // The flags of the active layer: one that says too much, one that says too little.
        view.setUint8(l1, view.getUint8(l1) ^ 0x80);
        view.setUint8(entry, view.getUint8(entry) ^ 0x80);
      },
      { ...SPEC, refcountOrder },
    );
    const { summary } = await planRepair(await readImage(disk));
    expect(summary).toMatchObject({ clustersFreed: 0, refcountsLowered: 0, copiedFlagsChanged: 2 });
    await repair(disk);
    expect(describeCheck(checkImage(disk.bytes()))).toBe("clean");
    expect(inspectImage(disk.bytes()).header.fenced).toBe(false);
  }
});

test("a leak behind the end of the file is found too", async () => {
  const disk = await fenced((view, { block }) => {
    view.setUint16(block + 2 * 2000, 3);
  });
  const report = await repair(disk);
  expect(report).toMatchObject({ interrupted: { transaction: 7 }, summary: { clustersFreed: 1 } });
  expect(describeCheck(checkImage(disk.bytes()))).toBe("clean");
});
