import { describe, expect, test } from "vitest";
import { readImage } from "../../src/image/index.ts";
import { PHASES } from "../../src/intent/index.ts";
import { type Operation, planImage } from "../../src/plan/index.ts";
import type { ImageSpec } from "../../tools/image-maker/index.ts";
import { inspectImage } from "../support/naive-qcow2.ts";
import { KIB, create, given, image, refusal, remove, revert, when } from "./lab.ts";

describe("create", () => {
  test("writes the snapshot's L1 table with every COPIED flag clear", async () => {
    const { bytes, report } = await when(given(), create("s"));
    const [snapshot] = report.snapshots;
    const view = new DataView(bytes.buffer);
    let entries = 0;
    for (let index = 0; index < (snapshot?.l1Size ?? 0); index += 1) {
      const entry = view.getBigUint64((snapshot?.l1Offset ?? 0) + index * 8);
      if (entry !== 0n) entries += 1;
      expect(entry >> 63n).toBe(0n);
    }
    expect(entries).toBeGreaterThan(0);
  });

  test("gives the next id as QEMU does: one more than the largest, also when ids are not numbers", async () => {
    const disk = given({
      snapshots: [
        { name: "a", id: "7" },
        { name: "b", id: "x" },
        { name: "c", id: "12 monkeys" },
      ],
    });
    const { report } = await when(disk, create("d"));
    expect(report.snapshots.at(-1)?.id).toBe("13");
  });

  test("records time, disk size and what qemu-img records", async () => {
    const { report } = await when(given(), create("s"));
    expect(report.snapshots[0]).toMatchObject({
      name: "s",
      dateSec: Date.UTC(2026, 0, 2, 3, 4, 5) / 1000,
      dateNsec: 0,
      vmStateSize: 0,
      diskSize: 4096 * KIB,
    });
  });

  test("refuses a name that exists, an empty one, one of 256 bytes, one with NUL, one that is not Unicode", async () => {
    const disk = given({ snapshots: [{ name: "s" }] });
    expect((await refusal(disk, create("s"))).code).toBe("SNAPSHOT_EXISTS");
    expect((await refusal(disk, create(""))).code).toBe("SNAPSHOT_NAME_INVALID");
    expect((await refusal(disk, create("x".repeat(256), true))).code).toBe("SNAPSHOT_NAME_INVALID");
    expect((await refusal(disk, create("ä".repeat(128), true))).code).toBe("SNAPSHOT_NAME_INVALID");
    expect((await refusal(disk, create("a\0b", true))).code).toBe("SNAPSHOT_NAME_INVALID");
    expect((await refusal(disk, create("\ud800", true))).code).toBe("SNAPSHOT_NAME_INVALID");
  });

  test("takes a name of 255 bytes, and a second or empty one when forced", async () => {
    const disk = given({ snapshots: [{ name: "s" }] });
    await when(disk, create("ä".repeat(127) + "x"));
    await when(disk, create("s", true));
    const { report } = await when(disk, create("", true));
    expect(report.snapshots.map(({ name }) => name)).toEqual(["s", "ä".repeat(127) + "x", "s", ""]);
  });

  test("grows the refcount table and blocks when they are full", async () => {
    const disk = given({
      clusterBits: 9,
      virtualSize: 16_384 * KIB,
      room: { freeInLastRefcountBlock: 0, refcountTableFull: true },
    });
    const before = inspectImage(disk.bytes()).header;
    const { report } = await when(disk, create("s"));
    expect(report.header.refcountTableOffset).not.toBe(before.refcountTableOffset);
  });

  test("clears autoclear bits that nobody here knows, and keeps the one of the bitmaps", async () => {
    const disk = given({ autoclearFeatures: 1n << 63n });
    const { report } = await when(disk, create("s"));
    expect(report.header.autoclear).toBe(0n);
    const withBitmap = given({ bitmap: { name: "b", granularityBits: 12 } });
    expect((await when(withBitmap, create("s"))).report.header.autoclear).toBe(1n);
  });
});

describe("revert", () => {
  const resized: Partial<ImageSpec> = {
    snapshots: [
      { name: "small", diskSize: 1024 * KIB, changes: [{ at: 1, kind: "data" }] },
      { name: "old", extraSize: 0, changes: [{ at: 2, kind: "data" }] },
    ],
  };

  test("restores the virtual size in the same switch, and writes down the size of entries that had none", async () => {
    const disk = given({ version: 2, ...resized });
    const { plan, report } = await when(disk, revert("small"));
    expect(report.header.virtualSize).toBe(1024 * KIB);
    expect(report.snapshots.map(({ diskSize }) => diskSize)).toEqual([1024 * KIB, 4096 * KIB]);
    expect(plan.outcomes[0]).toMatchObject({ resized: { from: 4096 * KIB, to: 1024 * KIB } });
    expect(plan.phases.switch).toHaveLength(1);
  });

  test("leaves the snapshot table alone when the size does not change", async () => {
    const disk = given({ version: 2, snapshots: [{ name: "s", extraSize: 0 }] });
    const before = inspectImage(disk.bytes());
    const { report } = await when(disk, revert("s"));
    expect(report.header.snapshotsOffset).toBe(before.header.snapshotsOffset);
  });

  test("never writes over the live L1 table", async () => {
    const disk = given({ snapshots: [{ name: "s", changes: [{ at: 9, kind: "data" }] }] });
    const before = inspectImage(disk.bytes()).header.l1Offset;
    const { plan, report } = await when(disk, revert("s"));
    expect(report.header.l1Offset).not.toBe(before);
    const { reserve } = plan.phases;
    expect([...reserve].every((intent) => intent.kind !== "fill" || intent.offset !== before)).toBe(true);
  });

  test("does not read L2 tables that the snapshot and the active layer share", async () => {
    const clusterSize = 4096;
    const perTable = clusterSize / 8;
    const disk = given({
      virtualSize: 8 * perTable * clusterSize,
      snapshots: [
        {
          name: "s",
          changes: Array.from({ length: 8 }, (_, table) => ({ at: table * perTable, kind: "data" as const })),
        },
      ],
      active: { from: 0, changes: [{ at: 5 * perTable, kind: "data", seed: 99 }] },
    });
    const { plan } = await when(disk, revert("s"));
    expect(plan.summary.tablesCounted).toBe(2);
  });

  test("is refused with persistent bitmaps", async () => {
    const disk = given({ snapshots: [{ name: "s" }], bitmap: { name: "b", granularityBits: 12 } });
    expect((await refusal(disk, revert("s"))).code).toBe("IMAGE_UNSUPPORTED");
  });

  const bitmaps = {
    snapshots: [{ name: "s", changes: [{ at: 1, kind: "data" }] }],
    bitmap: { name: "nightly", granularityBits: 12 },
  } as const;
  const dropping = (name: string): Operation => ({ type: "revert", image, name, dropBitmaps: true });
  const unknown = (type: number, length: number) => ({ type, data: new Uint8Array(length).fill(type) });

  test("drops persistent bitmaps when asked to: extension, autoclear bit, directory, table and data", async () => {
    const disk = given(bitmaps);
    const { plan, report } = await when(disk, create("kept"), dropping("s"), revert("kept"));
    expect(plan.outcomes.map((outcome) => "droppedBitmaps" in outcome && outcome.droppedBitmaps)).toEqual([
      false,
      ["nightly"],
      false,
    ]);
    expect(report.header.autoclear).toBe(0n);
    expect(report.header.extensions).toEqual([]);
    // A census counts them no more: the checker above would have found what was not freed.
    expect(plan.summary.clustersFreed).toBeGreaterThanOrEqual(3);
    expect((await when(disk, dropping("s"))).plan.outcomes[0]).not.toHaveProperty("droppedBitmaps");
  });

  test("keeps other header extensions when it drops the one of the bitmaps", async () => {
    const extensions = [unknown(0x1111, 5), unknown(0x2222, 16)];
    const { report } = await when(given({ ...bitmaps, extensions }), dropping("s"));
    expect(report.header.extensions.map(({ type, length }) => [type, length])).toEqual([
      [0x1111, 5],
      [0x2222, 16],
    ]);
  });

  test("refuses to drop bitmaps whose directory is wrong: what it points to belongs to others", async () => {
    const disk = given(bitmaps);
    const [extension] = inspectImage(disk.bytes()).header.extensions;
    const data = Buffer.from(extension?.hex ?? "", "hex");
    await disk.write(Number(data.readBigUInt64BE(16)), new Uint8Array(8));
    const error = await refusal(disk, dropping("s"));
    expect(error).toMatchObject({ code: "IMAGE_INVALID" });
    expect(error.message).toContain("entry 0: the table's offset is invalid");
  });

  test("refuses to drop bitmaps whose extension a torn write could not take out whole", async () => {
    const extensions = [unknown(0x1111, 600)];
    const error = await refusal(given({ ...bitmaps, extensions }), dropping("s"));
    expect(error).toMatchObject({ code: "IMAGE_UNSUPPORTED" });
    expect(error.message).toContain("qemu-img bitmap --remove");
  });
});

describe("delete", () => {
  test("frees what only the snapshot held and leaves no snapshot table behind the last one", async () => {
    const disk = given();
    await when(disk, create("s"));
    const { plan, report } = await when(disk, remove("s"));
    expect(report.snapshots).toEqual([]);
    expect(report.header.snapshotsOffset).toBe(0);
    expect(plan.summary.clustersAllocated).toBe(0);
    expect(plan.summary.clustersFreed).toBe(2);
    expect(plan.phases.discard).toHaveLength(1);
  });

  test("keeps unknown extra data of the other snapshots byte for byte", async () => {
    const disk = given({ snapshots: [{ name: "a" }, { name: "b", extraSize: 50 }] });
    const before = inspectImage(disk.bytes()).snapshots[1]?.unknownExtraHex;
    const { report } = await when(disk, remove("a"));
    expect(before).toHaveLength(52);
    expect(report.snapshots[0]?.unknownExtraHex).toBe(before);
  });
});

describe("several operations", () => {
  test("a rotate skips every L2 table that the new and the deleted snapshot share", async () => {
    const disk = given();
    await when(disk, create("old"));
    const { plan, report } = await when(disk, create("new"), remove("old"));
    expect(plan.summary.tablesCounted).toBe(0);
    expect(report.snapshots.map(({ name }) => name)).toEqual(["new"]);
  });

  test("later ones see what earlier ones did", async () => {
    const { report } = await when(given(), create("a"), create("b"), revert("a"), remove("a"));
    expect(report.snapshots.map(({ name, id }) => `${id}:${name}`)).toEqual(["2:b"]);
  });
});

describe("refcounts that are full", () => {
  test.each([0, 1, 2])(
    "a snapshot too many is refused before anything is written: width 2^%i",
    async (order) => {
      const disk = given({ refcountOrder: order });
      for (let count = 0; count < 2 ** (2 ** order) - 2; count += 1) await when(disk, create(`s${count}`));
      const error = await refusal(disk, create("one more"));
      expect(error.code).toBe("REFCOUNT_OVERFLOW");
    },
  );
});

describe("operations that cancel out", () => {
  test("leave no intent that changes nothing: recovery could not tell whether it was applied", async () => {
    const { plan, report } = await when(given(), create("s"), { type: "delete", image, id: "1" });
    expect(PHASES.flatMap((phase) => [...plan.phases[phase]])).toEqual([]);
    expect(report.snapshots).toEqual([]);
  });
});

describe("COPIED flags", () => {
  // QEMU never shares a cluster across places in the L1 table, but the format does not forbid it.
  const shared: Partial<ImageSpec> = {
    snapshots: [{ name: "s", changes: [{ at: 3, kind: "data" }] }],
    active: {
      changes: [
        { at: 600, kind: "alias", of: 3 },
        { at: 3, kind: "data", seed: 9 },
      ],
    },
  };

  test("are set in a table that no root gives up, when a cluster below it becomes its own", async () => {
    const { plan } = await when(given(shared), remove("s"));
    expect([...plan.phases.lower].filter(({ kind }) => kind === "copied")).not.toEqual([]);
  });

  test("are not looked for in tables that nothing of the operation can change", async () => {
    const data = { kind: "data", count: 8 } as const;
    const disk = given({
      snapshots: [{ name: "s", changes: [0, 512, 520, 1010].map((at) => ({ at, ...data })) }],
      active: { changes: [{ at: 1, kind: "data", seed: 9 }] },
    });
    let read = 0;
    await planImage(await readImage(disk), [revert("s")], { now: 0, onTable: () => (read += 1) });
    // One refcount block, and the two tables that differ: to be counted, and one of them for its flags, too.
    expect(read).toBe(3);
  });
});
