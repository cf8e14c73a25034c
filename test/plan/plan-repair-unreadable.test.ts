import { describe, expect, test } from "vitest";
import { readImage } from "../../src/image/index.ts";
import { type Mended, type RepairOperation, planImage } from "../../src/plan/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { applyPlan, planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { type Damage, SPEC, carriedOut, damaged, exceeding, mend, repairOf } from "../support/mend.ts";
import { visible } from "../support/model.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { clusterAt, flag, placesIn, setRefcount } from "../support/places.ts";

describe("a snapshot whose L1 table cannot be read", () => {
  const CASES: readonly [string, RegExp, Damage][] = [
    [
      "out of place",
      /snapshot "one" \(id 1\): L1 table offset invalid/,
      (at) => void at.bytes.writeBigUInt64BE(0x200n, at.snapshots),
    ],
    [
      "too large",
      /snapshot "one" \(id 1\): L1 table too large/,
      (at) => void at.bytes.writeUInt32BE(0x1000_0000, at.snapshots + 8),
    ],
    [
      "behind the end",
      /snapshot "one" \(id 1\): its L1 table reaches behind/,
      (at) => void at.bytes.writeBigUInt64BE(1n << 40n, at.snapshots),
    ],
  ];

  test.each(CASES)("(%s) stays, and nothing that it may own is freed", async (_what, message, damage) => {
    const spoil: Damage = (at) => {
      setRefcount(at, 0, 0);
      // A flag that is rightly clear once the snapshot can be read.
      setRefcount(at, clusterAt(at, at.entry), 1);
      flag(at, at.entry);
      at.bytes[79] = 3;
    };
    const { disk, sound } = damaged((at) => {
      spoil(at);
      damage(at);
    });
    const intact = damaged(spoil).disk;
    const [outcome] = await carriedOut(disk, {});
    expect(outcome).toMatchObject({
      mended: {
        leakedClusters: 0,
        refcountsTooLow: 1,
        refcountsTooHigh: 0,
        dirtyBit: true,
        corruptBit: false,
      },
      left: expect.arrayContaining([
        expect.stringMatching(message),
        expect.stringMatching(/refcounts that are too high: what looks leaked may belong to a snapshot/),
        expect.stringMatching(/the corrupt bit, because of that/),
      ]),
    });
    // Whoever puts the entry right has the snapshot back.
    const rescued = Buffer.from(disk.bytes());
    const entry = placesIn(Buffer.from(sound)).snapshots;
    intact
      .bytes()
      .subarray(entry, entry + 16)
      .forEach((byte, index) => (rescued[entry + index] = byte));
    const repaired = new MemoryDisk(rescued);
    await mend(repaired);
    expect(visible(repaired.bytes())).toEqual(visible(sound));
  });

  test("is a refusal where refcounts are missing too", async () => {
    const { disk } = damaged((at) => {
      CASES[0]?.[2](at);
      at.bytes.fill(0, at.table, at.table + 8);
    });
    await expect(planOn(disk, repairOf(disk))).rejects.toMatchObject({
      code: "IMAGE_DAMAGED",
      message: expect.stringMatching(CASES[0]?.[1] ?? /^$/),
      details: { snapshots: [{ id: "1", name: "one" }] },
    });
    expect(disk.events).toBe(0);
  });

  test.each(CASES)("(%s) goes when it is given up, and only it", async (_what, _message, damage) => {
    const { disk, sound } = damaged(damage);
    const mended = await mend(disk, { dropDamagedSnapshots: true });
    expect(mended).toMatchObject({ snapshotsDropped: [{ id: "1", name: "one" }] });
    const before = visible(sound);
    expect(visible(disk.bytes())).toEqual({ ...before, snapshots: before.snapshots.slice(1) });
  });
});

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
      const { disk, image } = await exceeding(extra, (at) => setRefcount(at, 2000, 3));
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

describe("a header that QEMU does not open", () => {
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
    await expect(readImage(disk)).rejects.toMatchObject({
      code: "IMAGE_INVALID",
      message: expect.stringMatching(/Nothing was changed; 'qcowal repair' may mend it\.$/),
    });
    expect(await mend(disk)).toMatchObject({ leakedClusters: 0, snapshotsDropped: [], ...expected });
    expect(visible(disk.bytes())).toEqual(visible(sound));
  });

  test.each(MENDABLE.filter(([what, { snapshotTable }]) => snapshotTable && !what.includes("any table")))(
    "(%s) is refused where something looks leaked",
    async (_what, _expected, damage) => {
      const { disk } = damaged((at) => {
        damage(at);
        setRefcount(at, 2000, 1);
      });
      await expect(planOn(disk, repairOf(disk))).rejects.toMatchObject({
        code: "IMAGE_DAMAGED",
        message: expect.stringMatching(/cannot be told from leaks.*--drop-damaged-snapshots/),
      });
      expect(disk.events).toBe(0);
      await mend(disk, { dropDamagedSnapshots: true });
    },
  );

  test("(the snapshot table at an odd place) gives up its snapshots when it cannot be found, and only then", async () => {
    const { disk, sound } = damaged((at) => {
      at.bytes.writeBigUInt64BE(0x1234n, 64);
      // An id that no qemu gives: whatever this is, it is no table.
      at.bytes.fill(0x78, at.snapshots + 40 + 24, at.snapshots + 40 + 25);
    });
    await expect(planOn(disk, repairOf(disk))).rejects.toMatchObject({
      message: expect.stringMatching(
        /Snapshot table offset invalid \(0x1234\); 2 entries of the snapshot table/,
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
