import { describe, expect, test } from "vitest";
import { makeImage } from "../../tools/image-maker/index.ts";
import { planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { CLUSTER, type Damage, SPEC, carriedOut, damaged, mend, repairOf } from "../support/mend.ts";
import { visible } from "../support/model.ts";
import { type Places, clusterAt, flag, placesIn, setRefcount, targetAt } from "../support/places.ts";

/** A cluster that nothing uses. */
const FREE = 2000;

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

test("an entry of the snapshot table that reaches into what a sound snapshot has is lost, and not the snapshot", async () => {
  const sound = Buffer.from(makeImage(SPEC));
  const { snapshots } = placesIn(sound);
  const { l1, l2 } = snapshotAt(placesIn(sound), 0);
  // The table is moved to the end, with an L2 table behind it; its second entry claims to end far behind that.
  const at = Buffer.concat([sound, Buffer.alloc(20 * CLUSTER)]);
  const table = sound.length;
  sound.copy(at, table, snapshots, snapshots + 144);
  sound.copy(at, table + CLUSTER, l2, l2 + CLUSTER);
  at.writeBigUInt64BE(BigInt(table), 64);
  at.writeBigUInt64BE(BigInt(table + CLUSTER), l1);
  at.writeUInt16BE(60_000, table + 72 + 14);
  at.fill(0, table + 72 + 64, table + 72 + 65);
  const disk = new MemoryDisk(at);
  await expect(planOn(disk, repairOf(disk))).rejects.toMatchObject({
    message: expect.stringMatching(
      /1 entry of the snapshot table behind the end of the file, or in the place of something else/,
    ),
  });
  await mend(disk, { dropDamagedSnapshots: true });
  expect(visible(disk.bytes()).snapshots).toEqual(visible(sound).snapshots.slice(0, 1));
});

test("a snapshot table that is written anew leaves its clusters to a snapshot that claims them", async () => {
  const [one = { name: "one" }, two = { name: "two" }] = SPEC.snapshots ?? [];
  const spec = { ...SPEC, snapshots: [one, { ...two, extraSize: 8 }] };
  let table = 0;
  const { disk } = damaged((at) => {
    table = at.snapshots;
    at.bytes.writeBigUInt64BE(BigInt(table), snapshotAt(at, 0).l1);
  }, spec);
  const [outcome] = await carriedOut(disk, {});
  expect(outcome).toMatchObject({
    mended: { snapshotEntries: 1 },
    left: expect.arrayContaining([expect.stringMatching(/^snapshot "one"/)]),
  });
  const left = placesIn(Buffer.from(disk.bytes()));
  expect(left.snapshots).not.toBe(table);
  expect(left.bytes.readUInt16BE(left.block + (2 * table) / CLUSTER)).toBe(1);
});

/** Where the entry of a snapshot is, and its L1 table, and its first L2 table, which is its own. */
function snapshotAt(at: Places, index: 0 | 1) {
  // 40 bytes, 24 of extra data, id and name of 1 and 3; aligned to 8.
  const entry = at.snapshots + 72 * index;
  const l1 = targetAt(at, entry);
  return { entry, l1, l2: targetAt(at, l1) };
}

describe("a snapshot whose tables contradict", () => {
  const CASES: readonly [string, RegExp, Damage][] = [
    [
      "the format",
      /snapshot "one" \(id 1\): entry 5 of the L2 table at 0x[0-9a-f]+ is invalid: reserved bits are set/,
      (at) => void (at.bytes[snapshotAt(at, 0).l2 + 8 * 5] = 0x20),
    ],
    [
      "the length of the file",
      /snapshot "one" \(id 1\): entry 5 of the L2 table at 0x[0-9a-f]+ points behind the end/,
      (at) => void at.bytes.writeBigUInt64BE(1n << 40n, snapshotAt(at, 0).l2 + 8 * 5),
    ],
    [
      "the active layer, whose L1 table they name as theirs",
      /snapshot "one" \(id 1\): cluster \d+ belongs to metadata and to metadata/,
      (at) => void at.bytes.writeBigUInt64BE(BigInt(at.l1), at.snapshots),
    ],
    [
      "the active layer, whose data they name as an L2 table",
      /snapshot "one" \(id 1\): /,
      (at) => void at.bytes.writeBigUInt64BE(BigInt(targetAt(at, at.entry)), snapshotAt(at, 0).l1),
    ],
  ];

  test.each(CASES)("%s stays, and nothing that it may own is freed", async (_what, message, damage) => {
    const { disk, sound } = damaged((at) => {
      damage(at);
      setRefcount(at, 0, 0);
      setRefcount(at, FREE, 1);
    });
    const [outcome] = await carriedOut(disk, {});
    expect(outcome).toMatchObject({
      mended: { leakedClusters: 0, refcountsTooHigh: 0, refcountsTooLow: 1, snapshotsDropped: [] },
      left: [expect.stringMatching(message), expect.stringMatching(/what looks leaked may belong to/)],
    });
    // Whoever puts right what was damaged has the snapshot back.
    const wounded = damaged(damage).disk.bytes();
    const rescued = disk.bytes().map((byte, at) => (wounded[at] === sound[at] ? byte : (sound[at] ?? byte)));
    const repaired = new MemoryDisk(rescued);
    await mend(repaired);
    expect(visible(repaired.bytes())).toEqual(visible(sound));
  });

  test.each(CASES)("%s goes when it is given up, and only it", async (_what, _message, damage) => {
    const { disk, sound } = damaged(damage);
    const mended = await mend(disk, { dropDamagedSnapshots: true });
    expect(mended).toMatchObject({ snapshotsDropped: [{ id: "1", name: "one" }] });
    const before = visible(sound);
    expect(visible(disk.bytes())).toEqual({ ...before, snapshots: before.snapshots.slice(1) });
  });
});

describe("tables that contradict each other", () => {
  const CASES: readonly [string, RegExp, Damage][] = [
    [
      "those of the active layer, with their places and owners",
      /repair cannot mend: entry 10 of the L2 table at 0x[0-9a-f]+ is invalid: reserved bits are set \[active layer\]\. Nothing.*restore the image from a copy, or save what can still be read \('qemu-img convert'\)/,
      (at) => void (at.bytes[at.entry] = 0x20),
    ],
    [
      "an L1 table and its own data",
      /cluster \d+ belongs to metadata and to data \[L1 table of active layer, active layer\]/,
      (at) => void at.bytes.writeBigUInt64BE(BigInt(at.l1), at.entry),
    ],
    [
      "data of the disk and the snapshot table, which is where it should be",
      /cluster \d+ belongs to metadata and to data \[snapshot table, active layer\]/,
      (at) => void at.bytes.writeBigUInt64BE(BigInt(at.snapshots), at.entry),
    ],
    [
      "two snapshots, either of which may be right",
      /cluster \d+ belongs to .*\[.*snapshot "one" \(id 1\).*snapshot "two" \(id 2\).*\]/,
      (at) => {
        // The second names as data what is the first's L2 table.
        const { l2 } = snapshotAt(at, 1);
        at.bytes.writeBigUInt64BE(BigInt(snapshotAt(at, 0).l2), l2 + 8 * 100);
      },
    ],
  ];

  test.each(CASES)("(%s) are refused whole, and named", async (_what, message, damage) => {
    const { disk } = damaged(damage);
    for (const dropDamagedSnapshots of [false, true]) {
      await expect(planOn(disk, repairOf(disk, { dropDamagedSnapshots }))).rejects.toMatchObject({
        code: "IMAGE_DAMAGED",
        message: expect.stringMatching(message),
      });
    }
    expect(disk.events).toBe(0);
  });
});
