import { describe, expect, test } from "vitest";
import { readImage } from "../../src/image/index.ts";
import { type Mended, type RepairOperation, planImage } from "../../src/plan/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { applyPlan, planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { CLUSTER, type Damage, SPEC, damaged, exceeding, mend, repairOf } from "../support/mend.ts";
import { visible } from "../support/model.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { placesIn, setRefcount, targetAt } from "../support/places.ts";

/** A cluster that nothing uses. */
const FREE = 2000;

describe("a snapshot table that exceeds QEMU's limits", () => {
  const CASES: readonly [string, number, RegExp, Partial<Mended>, kept: number][] = [
    ["extra data", 2000, /1 entry of the snapshot table with more extra data/, { snapshotEntriesCut: 1 }, 2],
    [
      "an end",
      2 ** 31,
      /1 entry of the snapshot table where QEMU does not read/,
      { snapshotEntriesLost: 1 },
      1,
    ],
  ];

  test("(extra data) is cut where the refcounts confirm what it says", async () => {
    const { disk, image } = await exceeding(2000);
    const plan = await planImage(image, [repairOf(disk)], { now: 0 });
    expect(plan.outcomes).toMatchObject([{ mended: { snapshotEntriesCut: 1 }, left: [] }]);
    await applyPlan(disk, plan);
    expect(describeCheck(checkImage(disk.bytes()))).toBe("clean");
    const known = visible(disk.bytes()).snapshots.map((snapshot) => ({ ...snapshot, unknownExtra: "" }));
    expect(known).toEqual(visible(makeImage(SPEC)).snapshots);
  });

  test.each(CASES)(
    "(%s) is refused where something looks leaked, and repaired when that is allowed",
    async (_what, extra, message, what, kept) => {
      const { disk, image } = await exceeding(extra, (at) => setRefcount(at, FREE, 3));
      const plan = (rest: Partial<RepairOperation>) => planImage(image, [repairOf(disk, rest)], { now: 0 });
      await expect(plan({})).rejects.toMatchObject({
        code: "IMAGE_DAMAGED",
        message: expect.stringMatching(message),
      });
      expect(disk.events).toBe(0);
      const allowed = await plan({ dropDamagedSnapshots: true });
      expect(allowed.outcomes).toMatchObject([{ mended: what }]);
      await applyPlan(disk, allowed);
      expect(describeCheck(checkImage(disk.bytes()))).toBe("clean");
      const names = visible(disk.bytes()).snapshots.map(({ name }) => name);
      expect(names).toEqual(["one", "two"].slice(0, kept));
      expect(visible(disk.bytes()).content).toBe(visible(Buffer.from(makeImage(SPEC))).content);
    },
  );
});

describe("a header with pointers and numbers that make no sense", () => {
  const MENDABLE: readonly [string, Partial<Mended>, Damage][] = [
    [
      "the refcount table at an odd place",
      { refcountTable: true },
      ({ bytes }) => void bytes.writeBigUInt64BE(0x1234n, 48),
    ],
    ["no refcount table", { refcountTable: true }, ({ bytes }) => void bytes.writeUInt32BE(0, 56)],
    [
      "a refcount table that is too large",
      { refcountTable: true },
      ({ bytes }) => void bytes.writeUInt32BE(2 ** 24, 56),
    ],
    [
      "the snapshot table at an odd place",
      { snapshotTable: true },
      ({ bytes }) => void bytes.writeBigUInt64BE(0x1234n, 64),
    ],
    [
      "the snapshot table out of reach",
      { snapshotTable: true },
      ({ bytes }) => void bytes.writeBigUInt64BE(2n ** 63n, 64),
    ],
    [
      "the snapshot table in the place of the header",
      { snapshotTable: true },
      ({ bytes }) => void bytes.fill(0, 64, 72),
    ],
    [
      "the snapshot table in the place of the header, and 2^32 - 1 snapshots",
      { snapshotTable: true },
      ({ bytes }) => void bytes.fill(0xff, 60, 64).fill(0, 64, 72),
    ],
    [
      "the snapshot table behind the end of the file",
      { snapshotTable: true },
      ({ bytes }) => void bytes.writeBigUInt64BE(1n << 40n, 64),
    ],
    [
      "the snapshot table in the place of the active L1 table",
      { snapshotTable: true },
      ({ bytes, l1 }) => void bytes.writeBigUInt64BE(BigInt(l1), 64),
    ],
    [
      "the snapshot table in the place of data",
      { snapshotTable: true },
      (at) => void at.bytes.writeBigUInt64BE(BigInt(targetAt(at, at.entry)), 64),
    ],
    [
      "the snapshot table in the place of the refcount table",
      { snapshotTable: true },
      ({ bytes, table }) => void bytes.writeBigUInt64BE(BigInt(table), 64),
    ],
    [
      "the snapshot table in the place of a refcount block",
      { snapshotTable: true },
      ({ bytes, block }) => void bytes.writeBigUInt64BE(BigInt(block), 64),
    ],
    [
      "more snapshots than 65,536",
      { snapshotTable: true },
      ({ bytes }) => void bytes.writeUInt32BE(65_537, 60),
    ],
    [
      "more snapshots than any table holds",
      { snapshotTable: true },
      ({ bytes }) => void bytes.writeUInt32BE(2 ** 31 + 2, 60),
    ],
  ];

  test.each(MENDABLE)("(%s) is mended where that loses nothing", async (_what, expected, damage) => {
    const { disk, sound } = damaged(damage);
    const opened = await readImage(disk).catch((error: unknown) => error);
    if (opened instanceof Error) {
      expect(opened).toMatchObject({
        code: "IMAGE_INVALID",
        message: expect.stringMatching(/Nothing was changed; 'qcowal repair' may mend it\.$/),
      });
    }
    expect(await mend(disk)).toMatchObject({ leakedClusters: 0, snapshotsDropped: [], ...expected });
    expect(visible(disk.bytes())).toEqual(visible(sound));
  });

  test.each(MENDABLE.filter(([what, { snapshotTable }]) => snapshotTable && !what.includes("any table")))(
    "(%s) is refused where something looks leaked",
    async (_what, _expected, damage) => {
      const { disk } = damaged((at) => {
        damage(at);
        setRefcount(at, FREE, 1);
      });
      await expect(planOn(disk, repairOf(disk))).rejects.toMatchObject({
        code: "IMAGE_DAMAGED",
        message: expect.stringMatching(/cannot be told from leaks.*--drop-damaged-snapshots/),
      });
      expect(disk.events).toBe(0);
      await mend(disk, { dropDamagedSnapshots: true });
    },
  );

  test("(the snapshot table where nothing is written) is mended where that loses nothing, refused otherwise", async () => {
    const sound = makeImage(SPEC);
    const pointing = (leak: boolean): MemoryDisk => {
      const at = placesIn(Buffer.concat([sound, Buffer.alloc(2 * CLUSTER)]));
      at.bytes.writeBigUInt64BE(BigInt(sound.length), 64);
      if (leak) setRefcount(at, FREE, 1);
      return new MemoryDisk(at.bytes);
    };
    const disk = pointing(false);
    expect(await mend(disk)).toMatchObject({ snapshotTable: true, snapshotEntriesLost: 0 });
    expect(visible(disk.bytes())).toEqual(visible(sound));
    const leaking = pointing(true);
    await expect(planOn(leaking, repairOf(leaking))).rejects.toMatchObject({
      code: "IMAGE_DAMAGED",
      message: expect.stringMatching(
        /^\S+: Snapshot table in which nothing is written \(0x[0-9a-f]+\); cluster 2000/,
      ),
    });
    await mend(leaking, { dropDamagedSnapshots: true });
    expect(visible(leaking.bytes())).toEqual(visible(sound));
  });

  const NO_TABLE: readonly [string, Damage][] = [
    ["in the place of the header, and 2^32 - 1 of them", ({ bytes }) => void bytes.fill(0xff, 60, 64)],
    [
      "behind the end of the file, and 65,536 of them",
      ({ bytes }) => {
        bytes.writeUInt32BE(65_536, 60);
        bytes.writeBigUInt64BE(1n << 40n, 64);
      },
    ],
    ["at an odd place", ({ bytes }) => void bytes.fill(1, 60, 72)],
  ];

  test.each(NO_TABLE)("(snapshots %s) has none where every cluster has its owner", async (_what, damage) => {
    const without = { ...SPEC, snapshots: [] };
    const { disk, sound } = damaged(damage, without);
    expect(await mend(disk)).toMatchObject({ snapshotTable: true, snapshotEntriesLost: 0 });
    expect(visible(disk.bytes())).toEqual(visible(sound));

    const doubtful: readonly Damage[] = [
      (at) => setRefcount(at, FREE, 1),
      ({ bytes }) => void (bytes[79] = 1),
      (at) => setRefcount(at, 0, 0),
    ];
    for (const doubt of doubtful) {
      const spoiled = damaged((at) => {
        damage(at);
        doubt(at);
      }, without).disk;
      await expect(planOn(spoiled, repairOf(spoiled))).rejects.toMatchObject({
        code: "IMAGE_DAMAGED",
        message: expect.stringMatching(
          /: Snapshot table .* \(0x[0-9a-f]+\); no table was found for the [0-9]+ snapshots that the header counts.*--drop-damaged-snapshots/,
        ),
      });
      expect(spoiled.events).toBe(0);
      await mend(spoiled, { dropDamagedSnapshots: true });
      expect(visible(spoiled.bytes())).toEqual(visible(sound));
    }
  });

  test("(the snapshot table at an odd place) gives up its snapshots when it cannot be found, and only then", async () => {
    const { disk, sound } = damaged((at) => {
      at.bytes.writeBigUInt64BE(0x1234n, 64);
      // An id that no qemu gives: whatever this is, it is no table.
      at.bytes.fill(0x78, at.snapshots + 40 + 24, at.snapshots + 40 + 25);
    });
    await expect(planOn(disk, repairOf(disk))).rejects.toMatchObject({
      message: expect.stringMatching(
        /Snapshot table offset invalid \(0x1234\); no table was found for the 2 snapshots/,
      ),
    });
    const mended = await mend(disk, { dropDamagedSnapshots: true });
    expect(mended).toMatchObject({ snapshotEntriesLost: 2, snapshotTable: true });
    expect(visible(disk.bytes())).toEqual({ ...visible(sound), snapshots: [] });
  });

  test("(the snapshot table at an odd place, without snapshots) says 0 afterwards", async () => {
    const { disk, sound } = damaged(({ bytes }) => void bytes.writeBigUInt64BE(0x1234n, 64), {
      ...SPEC,
      snapshots: [],
    });
    expect(await mend(disk)).toMatchObject({ snapshotTable: true });
    expect(disk.bytes().subarray(60, 72)).toEqual(new Uint8Array(12));
    expect(visible(disk.bytes())).toEqual(visible(sound));
  });

  test("(the active L1 table at an odd place) is for a copy: nobody knows what belongs to the disk", async () => {
    const { disk } = damaged(({ bytes }) => void bytes.writeBigUInt64BE(0x1234n, 40));
    await expect(readImage(disk, true)).rejects.toMatchObject({
      code: "IMAGE_INVALID",
      message: expect.stringMatching(
        /Active L1 table offset invalid.*Nothing was changed; restore the image from a copy/,
      ),
    });
  });
});
