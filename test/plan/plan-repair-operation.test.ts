import { describe, expect, test } from "vitest";
import { type Mended, planImage } from "../../src/plan/index.ts";
import { type ImageSpec, makeImage, randomSpec, seededRandom } from "../../tools/image-maker/index.ts";
import { planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import {
  CLUSTER,
  type Damage,
  SPEC,
  carriedOut,
  damaged,
  exceeding,
  mend,
  repairOf,
} from "../support/mend.ts";
import { visible } from "../support/model.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { clusterAt, flag, setRefcount, targetAt } from "../support/places.ts";
import { spoiled } from "../support/spoiled.ts";

const MENDED: readonly [what: string, mended: Partial<Mended>, damage: Damage][] = [
  ["nothing", {}, () => undefined],
  ["a leaked cluster", { leakedClusters: 1 }, (at) => setRefcount(at, at.bytes.length / CLUSTER - 1 + 5, 7)],
  ["a refcount far behind the end of the file", { leakedClusters: 1 }, (at) => setRefcount(at, 2000, 3)],
  ["a refcount that is too high", { refcountsTooHigh: 1 }, (at) => setRefcount(at, 0, 9)],
  ["a refcount that is too low", { refcountsTooLow: 1 }, (at) => setRefcount(at, clusterAt(at, at.entry), 0)],
  ["the header uncounted", { refcountsTooLow: 1 }, (at) => setRefcount(at, 0, 0)],
  [
    "a refcount block that does not count itself",
    { refcountsTooLow: 1 },
    (at) => setRefcount(at, at.block / CLUSTER, 0),
  ],
  ["a COPIED flag of the L1 table", { copiedFlags: 1 }, (at) => flag(at, at.l1)],
  ["a COPIED flag of an L2 table", { copiedFlags: 1 }, (at) => flag(at, at.entry)],
  ["the dirty bit", { dirtyBit: true }, ({ bytes }) => void (bytes[79] = 1)],
  ["the corrupt bit", { corruptBit: true }, ({ bytes }) => void (bytes[79] = 2)],
  [
    "a missing refcount block",
    { refcountBlocks: 1 },
    ({ bytes, table }) => void bytes.fill(0, table, table + 8),
  ],
  [
    "a refcount block at an odd place",
    { refcountBlocks: 1, refcountTable: true },
    ({ bytes, table }) => void bytes.writeBigUInt64BE(0x1234n, table),
  ],
  [
    "a refcount block behind the end of the file",
    { refcountBlocks: 1, refcountTable: true },
    ({ bytes, table }) => void bytes.writeBigUInt64BE(1n << 40n, table),
  ],
  [
    "a refcount block in the place of an L1 table",
    { refcountBlocks: 1, refcountTable: true },
    ({ bytes, table, l1 }) => void bytes.writeBigUInt64BE(BigInt(l1), table),
  ],
  [
    "a refcount block that is the refcount table",
    { refcountBlocks: 1, refcountTable: true },
    ({ bytes, table }) => void bytes.writeBigUInt64BE(BigInt(table), table),
  ],
  [
    "a refcount block that is named twice",
    { refcountTable: true },
    ({ bytes, table }) => void bytes.copy(bytes, table + 8, table, table + 8),
  ],
  [
    "a refcount table behind the end of the file",
    { refcountBlocks: 1, refcountTable: true },
    ({ bytes }) => void bytes.writeBigUInt64BE(1n << 40n, 48),
  ],
  [
    "a refcount table in the place of an L2 table",
    { refcountBlocks: 1, refcountTable: true },
    ({ bytes, l2 }) => void bytes.writeBigUInt64BE(BigInt(l2), 48),
  ],
];

describe("is mended, and nothing that a user sees changes:", () => {
  test.each(MENDED)("%s", async (_what, expected, damage) => {
    const { disk, sound } = damaged(damage);
    const mended = await mend(disk);
    const nothing = { leakedClusters: 0, refcountsTooLow: 0, copiedFlags: 0, refcountBlocks: 0 };
    expect(mended).toMatchObject({ ...nothing, dirtyBit: false, corruptBit: false, ...expected });
    expect(visible(disk.bytes())).toEqual(visible(sound));
  });

  test("entries of the snapshot table that are too short for version 3", async () => {
    const [one, two] = SPEC.snapshots ?? [];
    const spec = {
      ...SPEC,
      snapshots: [
        { ...one, name: "one", extraSize: 8 },
        { ...two, name: "two" },
      ],
    };
    const { disk, sound } = damaged(() => undefined, spec);
    expect(describeCheck(checkImage(sound))).toContain("incomplete");
    expect(await mend(disk)).toMatchObject({ snapshotEntries: 1 });
    expect(visible(disk.bytes())).toEqual(visible(sound));
  });

  test.each([
    [5, 2n ** 32n - 1n],
    [6, 2n ** 64n - 1n],
  ] as const)("a refcount that nothing can reach, in 2^%i bits", async (refcountOrder, value) => {
    const { disk, sound } = damaged(
      ({ bytes, block }) => {
        if (refcountOrder === 5) bytes.writeUInt32BE(Number(value), block);
        else bytes.writeBigUInt64BE(value, block);
      },
      { ...SPEC, refcountOrder },
    );
    expect(await mend(disk)).toMatchObject({ refcountBlocks: 1, refcountTable: true });
    expect(visible(disk.bytes())).toEqual(visible(sound));
  });

  test("any of it at once, on any image", async () => {
    let corrupt = 0;
    let zeros = 0;
    for (let seed = 1; seed <= 60; seed += 1) {
      const random = seededRandom(seed);
      const sound = makeImage(randomSpec(random, { maxClusterBits: random.chance(0.8) ? 10 : 14 }));
      const disk = new MemoryDisk(spoiled(sound, random));
      if (checkImage(disk.bytes()).corruptions.length > 0) corrupt += 1;
      const mended = await mend(disk, { harden: random.chance(0.5) }).catch((cause: unknown) => {
        throw new Error(`seed ${seed}`, { cause });
      });
      if (mended.zeroClusters > 0) zeros += 1;
      expect(visible(disk.bytes()), `seed ${seed}`).toEqual(visible(sound));
    }
    expect(corrupt).toBeGreaterThan(20);
    expect(zeros).toBeGreaterThan(3);
  });
});

test("entries that read as zeros and keep a cluster at an odd place become plain zeros", async () => {
  const [one, two] = SPEC.snapshots ?? [];
  const zeros = (at: number, count: number) => ({ at, count, kind: "zero-allocated" }) as const;
  const spec: ImageSpec = {
    ...SPEC,
    snapshots: [
      { name: "one", changes: [...(one?.changes ?? []), zeros(3, 2), zeros(30, 1)] },
      { name: "two", changes: [...(two?.changes ?? [])] },
    ],
    // Not the entries that share a table with flags to mend, of which some lie between them.
    active: { changes: [{ at: 7, count: 20, kind: "data", seed: 3 }, zeros(12, 1), zeros(14, 3)] },
  };
  const { disk, sound } = damaged((at) => {
    const tables = new Set(
      [at.l1, Number(at.bytes.readBigUInt64BE(at.snapshots))].map((l1) => targetAt(at, l1)),
    );
    expect(tables.size).toBe(2);
    for (const table of tables) {
      for (let entry = table; entry < table + CLUSTER; entry += 8) {
        if ((at.bytes[entry + 7] ?? 0) & 1)
          at.bytes.writeUInt16BE(at.bytes.readUInt16BE(entry + 6) + 0x200, entry + 6);
      }
    }
    for (const entry of [7, 13, 18]) flag(at, at.l2 + 8 * entry);
  }, spec);
  const mended = await mend(disk);
  // Three of the first snapshot and, with them, seven of the active layer; the second snapshot keeps those three.
  expect(mended).toMatchObject({ zeroClusters: 10, leakedClusters: 4, refcountsTooHigh: 3, copiedFlags: 3 });
  expect(visible(disk.bytes())).toEqual(visible(sound));
});

describe("with `leaks`", () => {
  test("leaks go, and the flags that follow from them", async () => {
    const { disk } = damaged((at) => {
      // As an interrupted delete leaves it: one reference more than there is, and the flag that fits it.
      setRefcount(at, clusterAt(at, at.entry), 2);
      flag(at, at.entry);
    });
    expect(await mend(disk, { what: "leaks" })).toMatchObject({ refcountsTooHigh: 1, copiedFlags: 1 });
  });

  test("the marks go when nothing else is wrong", async () => {
    const { disk } = damaged((at) => {
      setRefcount(at, 2000, 3);
      at.bytes[79] = 3;
    });
    expect(await mend(disk, { what: "leaks" })).toMatchObject({
      leakedClusters: 1,
      dirtyBit: true,
      corruptBit: true,
    });
  });

  test.each(MENDED.filter(([, mended]) => mended.refcountsTooLow ?? mended.refcountBlocks))(
    "%s stays, is named, and is for a repair of all",
    async (_what, expected, damage) => {
      const { disk, sound } = damaged((at) => {
        if (expected.refcountBlocks === undefined) setRefcount(at, at.bytes.length / CLUSTER - 1, 7);
        damage(at);
        at.bytes[79] = 1;
      });
      const before = checkImage(disk.bytes());
      const [outcome] = await carriedOut(disk, { what: "leaks" });
      if (outcome?.type !== "repair") throw new Error("a repair has the outcome of one");
      expect(outcome.left.join("; ")).toMatch(/refcount.*too low.*the dirty bit, because of that/);
      const after = checkImage(disk.bytes());
      expect(after.corruptions).toEqual(before.corruptions);
      expect(after.leaks.length).toBe(before.leaks.length - (expected.refcountBlocks === undefined ? 1 : 0));
      expect(visible(disk.bytes())).toEqual(visible(sound));
      await mend(new MemoryDisk(disk.bytes()));
    },
  );

  test("a snapshot table that QEMU refuses is a refusal", async () => {
    const { disk, image } = await exceeding(2000);
    const plan = planImage(image, [repairOf(disk, { what: "leaks" })], { now: 0 });
    await expect(plan).rejects.toMatchObject({
      code: "IMAGE_DAMAGED",
      message: expect.stringMatching(/has more than leaks: .+ Nothing was changed; 'qcowal repair' mends/),
    });
    expect(disk.events).toBe(0);
  });
});

test("with `harden` no L1 table of a snapshot says COPIED any more", async () => {
  const { disk, sound } = damaged(() => undefined, { ...SPEC, snapshotCopiedFlags: "set" });
  expect(await mend(disk)).toMatchObject({ snapshotFlags: 0 });
  const mended = await mend(disk, { harden: true });
  expect(mended.snapshotFlags).toBe(2);
  expect(visible(disk.bytes())).toEqual(visible(sound));
});

describe("what contradicts itself is refused before the first write:", () => {
  test.each<[string, RegExp, Damage]>([
    [
      "two owners of one cluster",
      /belongs to metadata and to data/,
      ({ bytes, entry, l1 }) => void bytes.writeBigUInt64BE(BigInt(l1), entry),
    ],
    [
      "data behind the end of the file",
      /points behind the end/,
      ({ bytes, entry }) => void bytes.writeBigUInt64BE(1n << 40n, entry),
    ],
    [
      "reserved bits",
      /entry 10 of the L2 table .* is invalid/,
      ({ bytes, entry }) => void (bytes[entry] = 0x20),
    ],
    [
      "an unaligned L2 table",
      /L1 table .*entry 0 is invalid/,
      ({ bytes, l1, l2 }) => void bytes.writeBigUInt64BE(BigInt(l2 + 512), l1),
    ],
    [
      "an L1 table behind the end",
      /the active L1 table at .* reaches behind the end/,
      ({ bytes }) => void bytes.writeBigUInt64BE(1n << 40n, 40),
    ],
  ])("%s", async (_what, message, damage) => {
    const { disk } = damaged(damage);
    await expect(planOn(disk, repairOf(disk))).rejects.toMatchObject({
      code: "IMAGE_DAMAGED",
      details: { findings: expect.arrayContaining([expect.stringMatching(message)]) },
    });
    expect(disk.events).toBe(0);
  });
});

test("a repair is the only operation on its image", async () => {
  const { disk } = damaged(() => undefined);
  const both = [repairOf(disk), { type: "create", image: disk.path, name: "x" } as const];
  await expect(planOn(disk, ...both)).rejects.toThrow(TypeError);
});
