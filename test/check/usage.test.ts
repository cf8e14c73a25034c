/** What `usage` says that a deletion frees, beside what it does free. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkImage, openPool } from "../../src/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { tempDir } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";

const SEEDS = Array.from({ length: 40 }, (_, seed) => seed);

/** The naive way: the set of clusters below each root. */
interface Naive {
  readonly exclusive: readonly number[];
  readonly shared: readonly number[];
}

function naiveUsage(sets: readonly ReadonlySet<number>[]): Naive {
  const users = new Map<number, number>();
  for (const set of sets) for (const cluster of set) users.set(cluster, (users.get(cluster) ?? 0) + 1);
  const count = (set: ReadonlySet<number>, isAlone: boolean): number =>
    [...set].filter((cluster) => (users.get(cluster) === 1) === isAlone).length;
  return { exclusive: sets.map((set) => count(set, true)), shared: sets.map((set) => count(set, false)) };
}

function clustersOf(bytes: Buffer, l1: number, entries: number): Set<number> {
  const size = 2 ** bytes.readUInt32BE(20);
  const extended = bytes.readUInt32BE(4) === 3 && (bytes[79] ?? 0) & 16 ? 16 : 8;
  const found = new Set<number>();
  for (let at = 0; at < entries * 8; at += size) found.add((l1 + at) / size);
  for (let slot = 0; slot < entries; slot += 1) {
    const l2 = Number(bytes.readBigUInt64BE(l1 + slot * 8) & 0x00ff_ffff_ffff_fe00n);
    if (l2 === 0) continue;
    found.add(l2 / size);
    for (let at = l2; at < l2 + size; at += extended) {
      const entry = bytes.readBigUInt64BE(at);
      if ((entry >> 62n) & 1n) {
        const bits = BigInt(62 - (bytes.readUInt32BE(20) - 8));
        const offset = Number(entry & ((1n << bits) - 1n));
        const sectors = Number((entry & ((1n << 62n) - 1n)) >> bits);
        const end = offset - (offset % 512) + (sectors + 1) * 512;
        for (let host = Math.floor(offset / size); host * size < end; host += 1) found.add(host);
      } else if ((entry & 0x00ff_ffff_ffff_fe00n) !== 0n) {
        found.add(Number(entry & 0x00ff_ffff_ffff_fe00n) / size);
      }
    }
  }
  return found;
}

function rootsOf(bytes: Buffer): Set<number>[] {
  const roots = [clustersOf(bytes, Number(bytes.readBigUInt64BE(40)), bytes.readUInt32BE(36))];
  let at = Number(bytes.readBigUInt64BE(64));
  for (let left = bytes.readUInt32BE(60); left > 0; left -= 1) {
    roots.push(clustersOf(bytes, Number(bytes.readBigUInt64BE(at)), bytes.readUInt32BE(at + 8)));
    const names = bytes.readUInt16BE(at + 12) + bytes.readUInt16BE(at + 14);
    at = Math.ceil((at + 40 + bytes.readUInt32BE(at + 36) + names) / 8) * 8;
  }
  return roots;
}

describe("usage", () => {
  test.each(SEEDS)("is that of a naive count, seed %i", async (seed) => {
    const random = seededRandom(seed);
    const bytes = Buffer.from(makeImage(randomSpec(random, { maxClusterBits: 14 })));
    const path = join(await tempDir(), "a.qcow2");
    await writeFile(path, bytes);
    const { usage, clusterSize } = await checkImage(path, { usage: true });
    const naive = naiveUsage(rootsOf(bytes));
    expect(usage?.roots.map(({ exclusiveBytes }) => exclusiveBytes / clusterSize)).toEqual(naive.exclusive);
    expect(usage?.roots.map(({ sharedBytes }) => sharedBytes / clusterSize)).toEqual(naive.shared);
  });

  test("of more roots than one pass has bits for", async () => {
    const dir = await tempDir();
    const path = join(dir, "a.qcow2");
    const snapshots = Array.from({ length: 70 }, (_, index) => ({
      name: `s${index}`,
      changes: [{ at: index, count: 2, kind: "data" as const, seed: index + 1 }],
    }));
    const bytes = Buffer.from(makeImage({ version: 3, clusterBits: 12, virtualSize: 2 ** 20, snapshots }));
    await writeFile(path, bytes);
    const { usage, clusterSize } = await checkImage(path, { usage: true });
    const naive = naiveUsage(rootsOf(bytes));
    expect(usage?.roots.map(({ exclusiveBytes }) => exclusiveBytes / clusterSize)).toEqual(naive.exclusive);
    expect(usage?.roots.map(({ sharedBytes }) => sharedBytes / clusterSize)).toEqual(naive.shared);
  });

  test("says what a deletion frees", async () => {
    const dir = await tempDir();
    const path = join(dir, "a.qcow2");
    const spec = {
      version: 3 as const,
      clusterBits: 12,
      virtualSize: 2 ** 20,
      snapshots: [
        { name: "one", changes: [{ at: 0, count: 9, kind: "data" as const, seed: 1 }] },
        { name: "two", changes: [{ at: 4, count: 30, kind: "data" as const, seed: 2 }] },
      ],
      active: { changes: [{ at: 7, count: 50, kind: "data" as const, seed: 3 }] },
    };
    await writeFile(path, makeImage(spec));
    await using pool = await openPool(join(dir, ".qcowal"));
    const before = await pool.check(path, { usage: true });
    const frees = before.usage?.roots.find(({ snapshot }) => snapshot?.name === "two")?.exclusiveBytes;
    expect(frees).toBeGreaterThan(0);
    await pool.delete(path, "two");
    const after = await pool.check(path, { usage: true });
    expect((before.usage?.usedBytes ?? 0) - (after.usage?.usedBytes ?? 0)).toBe(frees);
    expect(after).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0, findings: [] });
  });
});
