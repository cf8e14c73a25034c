import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { applyToNewFile } from "../../src/engine/index.ts";
import { isQcowalError } from "../../src/errors/index.ts";
import { readImage } from "../../src/image/index.ts";
import { planImage } from "../../src/plan/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { NOW } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { visible } from "../support/model.ts";
import { checkImage, describeCheck, readRoot } from "../support/naive-qcow2.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { receiving, streamOf } from "../support/received.ts";

const SECTOR = 512;

/** Another content: runs of bytes and of zeros over what is there, on a disk that may be larger or smaller. */
function changed(random: Random, before: Uint8Array): Buffer {
  const sectors = before.length / SECTOR;
  // Some need further L2 tables, and a longer L1 table.
  const most = Math.max(sectors * 2, random.chance(0.3) ? 2000 : 0);
  const size = random.chance(0.7) ? before.length : SECTOR * (1 + random.int(most));
  const after = Buffer.alloc(size);
  after.set(before.subarray(0, size));
  for (let left = random.int(8); left > 0; left -= 1) {
    const at = SECTOR * random.int(size / SECTOR);
    const end = Math.min(size, at + SECTOR * (1 + random.int(random.pick([1, 8, 300]))));
    after.fill(random.chance(0.4) ? 0 : 1 + random.int(255), at, end);
  }
  return after;
}

const REFUSALS = new Set(["REFCOUNT_OVERFLOW", "IMAGE_UNSUPPORTED"]);

interface Seen {
  received: number;
  resized: number;
  refused: number;
}

/** A chain of streams into a random image, each of them kept as a snapshot or not. */
async function receiveChain(seed: number, seen: Seen): Promise<void> {
  const random = seededRandom(seed);
  const disk = new MemoryDisk(
    makeImage(randomSpec(random, { maxClusterBits: random.pick([9, 10, 11, 14]) })),
  );
  for (let step = 0; step < 3; step += 1) {
    const bytes = disk.bytes();
    const before = readRoot(bytes, "active");
    const after = changed(random, before);
    const was = visible(bytes);
    const snapshot = random.chance(0.5) ? `received ${step}` : undefined;
    const { operations, openReceived } = await receiving(disk.path, await streamOf(before, after), snapshot);
    const windowBytes = random.chance(0.3) ? 1 : undefined;
    try {
      const plan = await planImage(await readImage(disk), operations, {
        now: NOW,
        openReceived,
        windowBytes,
      });
      await applyToNewFile(disk, plan);
      seen.received += 1;
      if (after.length !== before.length) seen.resized += 1;
    } catch (error) {
      if (error instanceof Error && error.name === "ReceivedBefore") {
        expect(Buffer.compare(before, after)).toBe(0);
        continue;
      }
      if (!isQcowalError(error) || !REFUSALS.has(error.code)) throw error;
      expect(Buffer.compare(disk.bytes(), bytes)).toBe(0);
      seen.refused += 1;
      continue;
    }
    const now = disk.bytes();
    expect(describeCheck(checkImage(now))).toBe("clean");
    expect(Buffer.compare(readRoot(now, "active"), after)).toBe(0);
    const { snapshots } = visible(now);
    expect(snapshots.slice(0, was.snapshots.length)).toEqual(was.snapshots);
    expect(snapshots.length - was.snapshots.length).toBe(snapshot === undefined ? 0 : 1);
    if (snapshot !== undefined) {
      expect(snapshots.at(-1)).toMatchObject({ name: snapshot, diskSize: after.length });
      expect(Buffer.compare(readRoot(now, snapshots.length - 1), after)).toBe(0);
    }
  }
}

describe("a received stream", () => {
  test("makes any image hold what it leads to, clean, and leaves every snapshot as it was", async () => {
    const seen: Seen = { received: 0, resized: 0, refused: 0 };
    const runs = Number(process.env["QCOWAL_RECEIVES"] ?? 20);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 - 1 }), async (seed) => {
        await receiveChain(seed, seen);
      }),
      { numRuns: runs, endOnFailure: true },
    );
    // Most of the time there is something to receive, and now and then the disk has another size.
    expect(seen.received).toBeGreaterThan(runs / 2);
    expect(seen.resized).toBeGreaterThan(runs / 20);
  });
});
