/** Snapshot tables that are as large as tables get, and damaged. */
import { describe, expect, test } from "vitest";
import { makeImage } from "../../tools/image-maker/index.ts";
import { planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { type Damage, SPEC, carriedOut, repairOf } from "../support/mend.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { placesIn } from "../support/places.ts";

interface Entry {
  readonly name: string;
  readonly id: string;
  /** False: its L1 table is out of place. True: it has none, which is sound. */
  readonly isSound: boolean;
  /** Length of the extra data, of which the first 24 bytes are known. */
  readonly extra: 0 | 24;
}

function encoded({ name, id, isSound, extra }: Entry): Buffer {
  const entry = Buffer.alloc(Math.ceil((40 + extra + id.length + name.length) / 8) * 8);
  entry.writeBigUInt64BE(isSound ? 0n : 0x200n);
  entry.writeUInt32BE(isSound ? 0 : 1, 8);
  entry.writeUInt16BE(id.length, 12);
  entry.writeUInt16BE(name.length, 14);
  entry.writeUInt32BE(extra, 36);
  if (extra > 0) entry.writeBigUInt64BE(BigInt(SPEC.virtualSize), 48);
  entry.write(id + name, 40 + extra);
  return entry;
}

/** An image with this table at its end. */
function withTable(entries: readonly Entry[], more: Damage = () => undefined, spec = SPEC): MemoryDisk {
  const sound = makeImage({ ...spec, snapshots: [] });
  const bytes = Buffer.concat([sound, ...entries.map(encoded)]);
  bytes.writeUInt32BE(entries.length, 60);
  bytes.writeBigUInt64BE(BigInt(sound.length), 64);
  more(placesIn(bytes));
  return new MemoryDisk(bytes);
}

/** Snapshots of which none can be read. */
function unreadable(names: readonly string[], more?: Damage): MemoryDisk {
  const entry = (name: string, index: number) =>
    ({ name, id: String(index + 1), isSound: false, extra: 24 }) as const;
  return withTable(names.map(entry), more);
}

describe("thousands of snapshots that cannot be read", () => {
  /** What the journal takes at once. */
  const RECORD_BYTES = 2 ** 20;

  test.each([
    [
      "with names",
      Array.from({ length: 12_000 }, (_, index) => `a snapshot like any other, number ${index}`),
    ],
    ["with names of 64 KiB", Array.from({ length: 40 }, (_, index) => String(index).padEnd(65_535, "x"))],
  ])("(%s) stay, or go, in words that fit the journal", async (_what, names) => {
    const outcomes = [];
    for (const dropDamagedSnapshots of [false, true]) {
      const disk = unreadable(names);
      const [outcome] = await carriedOut(disk, { dropDamagedSnapshots });
      expect(JSON.stringify(outcome).length).toBeLessThan(RECORD_BYTES / 2);
      outcomes.push(outcome);
      if (dropDamagedSnapshots) expect(describeCheck(checkImage(disk.bytes()))).toBe("clean");
    }
    const [stayed, gone] = outcomes;
    expect(stayed).toMatchObject({
      left: expect.arrayContaining([
        expect.stringMatching(/^snapshot "[^"]{1,64}"…? \(id 10\): L1 table offset invalid.*gives it up$/),
        `${names.length - 10} more snapshots that cannot be read. They stay; 'qcowal repair --drop-damaged-snapshots' gives them up`,
      ]),
    });
    if (gone?.type !== "repair") throw new Error("a repair has the outcome of one");
    const { snapshotsDropped, snapshotsDroppedUnnamed } = gone.mended;
    expect(snapshotsDropped.length + snapshotsDroppedUnnamed).toBe(names.length);
    // Each of them whole.
    expect(snapshotsDropped.map(({ name }) => name)).toEqual(names.slice(0, snapshotsDropped.length));
    expect(snapshotsDropped.length).toBeGreaterThan(0);
    expect(gone.findings.length).toBeLessThanOrEqual(10);
  });

  test("are refused in words that can be read", async () => {
    const names = Array.from({ length: 1000 }, (_, index) => `number ${index}`);
    const disk = unreadable(names, ({ bytes, table }) => void bytes.fill(0, table, table + 8));
    const error: unknown = await planOn(disk, repairOf(disk)).catch((refused: unknown) => refused);
    expect(error).toMatchObject({
      code: "IMAGE_DAMAGED",
      message: expect.stringMatching(/number 9" \(id 10\): .*; 990 more snapshots that cannot be read/),
    });
    expect((error as Error).message.length).toBeLessThan(2000);
  });
});

test("snapshots whose L1 tables claim the file again and again are refused, in words that name it once", async () => {
  const entry = (index: number): Entry => ({
    name: `number ${index}`,
    id: String(index + 1),
    isSound: true,
    extra: 24,
  });
  const disk = withTable([0, 1, 2].map(entry), ({ bytes, snapshots }) => {
    for (let index = 0; index < 3; index += 1) {
      const at = snapshots + index * 80;
      bytes.writeBigUInt64BE(4096n, at);
      bytes.writeUInt32BE(Math.floor((bytes.length - 4096) / 8), at + 8);
    }
  });
  const error: unknown = await planOn(disk, repairOf(disk)).catch((refused: unknown) => refused);
  expect((error as Error).message).toBe(
    `${disk.path} shows damage that a repair cannot mend: the L1 tables of 3 snapshots overlap, for they claim more than the file has. Nothing was changed; restore the image from a copy, or save what can still be read ('qemu-img convert').`,
  );
});

test("a table that would exceed 64 MiB without a snapshot is mended in part, and no further", async () => {
  // Each entry gets the 24 bytes of extra data that it lacks.
  const entry = (name: string, isSound: boolean): Entry => ({ name, id: "1", isSound, extra: 0 });
  const long = Array.from({ length: 1023 }, () => entry("n".repeat(65_535 - 48), true));
  const disk = withTable([entry("one", false), ...long, entry("n".repeat(60_000), true)], undefined, {
    ...SPEC,
    version: 2,
    clusterBits: 16,
    virtualSize: 2 ** 22,
  });
  const [outcome] = (await planOn(disk, repairOf(disk))).outcomes;
  expect(outcome).toMatchObject({
    left: expect.arrayContaining([expect.stringMatching(/^snapshot "one".* gives it up$/)]) as unknown,
  });
  await expect(planOn(disk, repairOf(disk, { dropDamagedSnapshots: true }))).rejects.toMatchObject({
    code: "LIMIT_EXCEEDED",
    message: expect.stringMatching(
      /: the snapshot table would have 67119[0-9]{3} bytes, QEMU reads at most 67108864\. Nothing was changed; delete snapshots first\.$/,
    ) as unknown,
  });
});
