import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type ChangedRange, diffHistory, diffSnapshots, openPool } from "../../src/index.ts";
import { contentDifferences, diffTotals } from "../../src/export/index.ts";
import {
  type ImageSpec,
  makeImage,
  randomSpec,
  seededRandom,
  writeImage,
} from "../../tools/image-maker/index.ts";
import { shapes } from "../interop/shapes.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { inspectImage } from "../support/naive-qcow2.ts";
import { must } from "../support/programs.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { BytesGuest, all, rangesOf, rangesOn } from "./lab.ts";
import { NaiveImage, UNIT } from "./naive-map.ts";

beforeAll(requireQemu);

/** The ranges as text, unit by unit. */
function unitsOf(ranges: readonly ChangedRange[]): string[] {
  const found: string[] = [];
  for (const { offset, length, kind, hostOffset } of ranges) {
    for (let at = 0; at < length; at += UNIT) {
      found.push(`${offset + at} ${kind}${hostOffset === undefined ? "" : ` ${hostOffset + at}`}`);
    }
  }
  return found;
}

/** Which stream it is, our ranges do not say. */
const withoutStreams = (units: readonly string[]): string[] =>
  units.map((unit) => unit.replace(/compressed .*/, "compressed"));

/** Ascending, apart or stored differently, and inside the larger disk. */
function expectMerged(ranges: readonly ChangedRange[], size: number): void {
  for (const [index, range] of ranges.entries()) {
    const next = ranges[index + 1];
    expect(range.length).toBeGreaterThan(0);
    expect(range.offset + range.length).toBeLessThanOrEqual(next?.offset ?? size);
    const isAlike =
      next?.offset === range.offset + range.length &&
      next.kind === range.kind &&
      (range.kind !== "data" || next.hostOffset === (range.hostOffset ?? 0) + range.length);
    expect(isAlike, JSON.stringify([range, next])).toBe(false);
  }
}

/** The bytes of `to` in the ranges, the rest of `from`. */
function applied(ranges: readonly ChangedRange[], from: Uint8Array, to: Uint8Array): Uint8Array {
  const result = new Uint8Array(to.length);
  result.set(from.subarray(0, to.length));
  for (const { offset, length } of ranges) {
    const end = Math.min(offset + length, to.length);
    if (offset < end) result.set(to.subarray(offset, end), offset);
  }
  return result;
}

interface Seen {
  pairs: number;
  kinds: Set<string>;
}

async function expectExact(bytes: Uint8Array, seen: Seen, most = Infinity): Promise<void> {
  const image = new NaiveImage(bytes);
  const standsAlone = image.header.backingName === null && image.header.cryptMethod === 0;
  const which = image.roots.slice(-most);
  for (const [from, to] of which.flatMap((from) => which.map((to) => [from, to] as const))) {
    const ranges = await rangesOf(bytes, from, to);
    if (from === to) {
      expect(ranges).toEqual([]);
      continue;
    }
    expect(unitsOf(ranges).join("\n")).toBe(withoutStreams(image.differences(from, to)).join("\n"));
    expectMerged(ranges, Number.MAX_SAFE_INTEGER);
    seen.pairs += 1;
    for (const { kind } of ranges) seen.kinds.add(kind);
    if (!standsAlone) continue;
    const [before, after] = [image.content(from), image.content(to)];
    expect(Buffer.compare(applied(ranges, before, after), after)).toBe(0);
    const content = await all(contentDifferences(ranges, new BytesGuest(before), new BytesGuest(after)));
    expect(content).toEqual(naiveContent(before, after));
  }
}

/** Runs of units that differ, by looking at every one; where one disk ends, all that the other has. */
function naiveContent(before: Uint8Array, after: Uint8Array): { offset: number; length: number }[] {
  const found: { offset: number; length: number }[] = [];
  const common = Math.min(before.length, after.length);
  const total = Math.max(before.length, after.length);
  for (let at = 0; at < total;) {
    const end = at < common ? Math.min(at + UNIT, common) : total;
    const isSame = at < common && Buffer.compare(before.subarray(at, end), after.subarray(at, end)) === 0;
    const last = found.at(-1);
    if (!isSame && last !== undefined && last.offset + last.length === at) last.length += end - at;
    else if (!isSame) found.push({ offset: at, length: end - at });
    at = end;
  }
  return found;
}

describe("what two states map differently", () => {
  const seen: Seen = { pairs: 0, kinds: new Set() };

  test.each(Array.from({ length: 40 }, (_, seed) => seed))(
    "is found exactly, and makes one of the other, on random image %i",
    async (seed) => {
      const random = seededRandom(9000 + seed);
      const spec = randomSpec(random, {
        maxClusterBits: 15,
        backing: { name: "base.raw", format: "raw" },
      });
      await expectExact(resized(makeImage(spec), spec, seed), seen);
    },
  );

  test("was asked of many pairs, of every kind", () => {
    expect(seen.pairs).toBeGreaterThan(150);
    expect([...seen.kinds].toSorted()).toEqual(["compressed", "data", "outside", "unallocated", "zero"]);
  });

  /** In every third image the first snapshot is of a smaller or larger disk, which mostly ends inside of a cluster. */
  function resized(bytes: Uint8Array, { virtualSize, snapshots = [] }: ImageSpec, seed: number): Uint8Array {
    const [first] = snapshots;
    if (first === undefined || (first.extraSize ?? 24) < 16 || seed % 3 !== 0) return bytes;
    const size = Math.max(512, virtualSize + (seed % 2 === 0 ? -512 : 512) * (1 + (seed % 50)));
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    view.setBigUint64(Number(view.getBigUint64(64)) + 48, BigInt(size));
    return bytes;
  }

  const byQemu =
    /^(extended L2 16K|0.10 cluster 4K|1.1 cluster 1K refcount 2$|zero clusters|backing raw ext|equal names)/;
  const withSnapshots = shapes.filter(({ name }) => byQemu.test(name));

  test.each(withSnapshots)("is found exactly on an image of qemu's: $name", async (shape) => {
    const path = await shape.build(await tempDir(), seededRandom(1));
    await expectExact(await readFile(path), { pairs: 0, kinds: new Set() }, 3);
  });

  test("is stored as qemu-img map says, as far as the image itself has it", async () => {
    const path = join(await tempDir(), "a.qcow2");
    const spec: ImageSpec = {
      version: 3,
      clusterBits: 16,
      virtualSize: 64 * 65_536,
      snapshots: [{ name: "empty" }],
      active: {
        changes: [
          { at: 0, count: 3, kind: "data", seed: 1 },
          { at: 7, kind: "compressed", seed: 2 },
          { at: 20, count: 5, kind: "zero" },
          { at: 40, count: 2, kind: "zero-allocated" },
          { at: 63, kind: "data", seed: 3 },
        ],
      },
    };
    await writeImage(path, spec);
    const map = JSON.parse(await must("qemu-img", ["map", "--output=json", path])) as {
      start: number;
      length: number;
      present: boolean;
      offset?: number;
      data: boolean;
    }[];
    const theirs = map.filter(({ present }) => present);
    const ranges = await all(diffSnapshots(path, "empty"));
    expect(ranges.map(({ offset, length }) => [offset, length])).toEqual(
      theirs.map(({ start, length }) => [start, length]),
    );
    expect(ranges.map(({ hostOffset }) => hostOffset)).toEqual(
      theirs.map(({ offset, data }) => (data ? offset : undefined)),
    );
  });
});

describe("a comparison", () => {
  /** 64 L2 tables, of which the active layer changes one. */
  const WIDE: ImageSpec = {
    version: 3,
    clusterBits: 9,
    virtualSize: 64 * 64 * 512,
    snapshots: [
      {
        name: "wide",
        changes: Array.from({ length: 64 }, (_, table) => ({
          at: table * 64,
          kind: "data" as const,
          seed: table,
        })),
      },
    ],
    active: { changes: [{ at: 30 * 64 + 5, count: 2, kind: "data", seed: 99 }] },
  };

  test("reads no table that both states share, and no content", async () => {
    const bytes = makeImage(WIDE);
    const places: number[] = [];
    const counted = new (class extends MemoryDisk {
      override read(offset: number, target: Uint8Array): Promise<number> {
        places.push(offset);
        return super.read(offset, target);
      }
    })(bytes);
    const ranges = await rangesOn(counted, 0, "active");
    expect(ranges.map(({ offset, length }) => [offset, length])).toEqual([[(30 * 64 + 5) * 512, 1024]]);
    const { active, snapshots, header } = inspectImage(bytes);
    const known = new Set([0, header.snapshotsOffset, active.l1Offset, snapshots[0]?.l1Offset ?? 0]);
    expect(places.filter((offset) => !known.has(offset))).toHaveLength(2);
  });

  test("takes no COPIED flag for a difference, not even where none may be", async () => {
    const bytes = makeImage({
      version: 3,
      clusterBits: 12,
      virtualSize: 1 << 20,
      snapshots: [{ name: "one", changes: [{ at: 1, kind: "compressed", seed: 1 }] }],
      active: { changes: [{ at: 9, kind: "data", seed: 2 }] },
    });
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const l2 = Number(view.getBigUint64(inspectImage(bytes).active.l1Offset) & 0x00ff_ffff_ffff_fe00n);
    view.setBigUint64(l2 + 8, view.getBigUint64(l2 + 8) | (1n << 63n));
    expect(await rangesOf(bytes, 0, "active")).toMatchObject([{ offset: 9 * 4096, length: 4096 }]);
  });

  test("finds nothing between a snapshot and what was made of it", async () => {
    const dir = await tempDir();
    const path = join(dir, "a.qcow2");
    await writeImage(path, WIDE);
    await using pool = await openPool(join(dir, ".qcowal"));
    await pool.create(path, "now");
    expect(await all(diffSnapshots(path, "now"))).toEqual([]);
    await pool.revert(path, "wide");
    expect(await all(diffSnapshots(path, "wide"))).toEqual([]);
    expect(await all(diffSnapshots(path, "wide", "now"))).toHaveLength(1);
    expect(await all(diffSnapshots(path, "now", { id: "1" }))).toHaveLength(1);
  });

  test("tells sizes and backing, progress up to the end, and what each step changed", async () => {
    const path = join(await tempDir(), "a.qcow2");
    const [wide] = WIDE.snapshots ?? [];
    if (wide === undefined) throw new Error("no snapshot");
    const small = { ...wide, diskSize: WIDE.virtualSize - 1024 };
    await writeImage(path, { ...WIDE, snapshots: [small, { name: "second" }] });
    const told: unknown[] = [];
    const progress: [number, number][] = [];
    const ranges = await all(
      diffSnapshots(path, "wide", undefined, {
        onSides: (sides) => told.push(sides),
        onProgress: (...now) => progress.push(now),
      }),
    );
    expect(told).toEqual([
      {
        image: path,
        from: { snapshot: { id: "1", name: "wide" }, size: WIDE.virtualSize - 1024 },
        to: { snapshot: null, size: WIDE.virtualSize },
        hasBacking: false,
      },
    ]);
    expect(ranges.at(-1)).toEqual({ offset: WIDE.virtualSize - 1024, length: 1024, kind: "unallocated" });
    expect(progress.at(-1)).toEqual([WIDE.virtualSize, WIDE.virtualSize]);
    expect(progress.map(([done]) => done)).toEqual(progress.map(([done]) => done).toSorted((a, b) => a - b));
    const steps = await all(diffHistory(path));
    expect(
      steps.map(({ from, to, totals }) => [from.snapshot?.name, to.snapshot?.name, totals.bytes]),
    ).toEqual([
      ["wide", "second", 1024],
      ["second", undefined, 1024],
    ]);
    expect(steps[1]?.totals).toEqual({
      ranges: 1,
      bytes: 1024,
      data: 1024,
      compressed: 0,
      zero: 0,
      unallocated: 0,
      outside: 0,
    });
    expect(await diffTotals(diffSnapshots(path, "second", "wide"))).toMatchObject({ outside: 1024 });
  });

  test("ends when it is called off, and says that nothing was changed", async () => {
    const path = join(await tempDir(), "a.qcow2");
    await writeImage(path, WIDE);
    await expect(
      all(diffSnapshots(path, "wide", undefined, { signal: AbortSignal.abort() })),
    ).rejects.toMatchObject({
      code: "ABORTED",
      message: expect.stringContaining("Nothing was changed") as string,
    });
  });

  test("refuses a fenced image, unknown names, and entries that say nothing sensible", async () => {
    const path = join(await tempDir(), "a.qcow2");
    const bytes = makeImage(WIDE);
    await writeFile(path, bytes);
    await expect(all(diffSnapshots(path, "none"))).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const { active } = inspectImage(bytes);
    const l2 = Number(view.getBigUint64(active.l1Offset + 30 * 8) & 0x00ff_ffff_ffff_fe00n);
    view.setBigUint64(l2 + 5 * 8, view.getBigUint64(l2 + 5 * 8) | 0x10n);
    await writeFile(path, bytes);
    await expect(all(diffSnapshots(path, "wide"))).rejects.toMatchObject({
      code: "IMAGE_INVALID",
      message: expect.stringContaining(path) as string,
    });
    const fenced = makeImage(WIDE);
    fenced[72] = 0x40;
    await writeFile(path, fenced);
    await expect(all(diffSnapshots(path, "wide"))).rejects.toMatchObject({ code: "NEEDS_RECOVERY" });
    await expect(all(diffHistory(path))).rejects.toMatchObject({ code: "NEEDS_RECOVERY" });
  });
});
