import { describe, expect, test } from "vitest";
import { QcowalError } from "../../src/errors/index.ts";
import type { Operation } from "../../src/plan/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { inspectImage } from "../support/naive-qcow2.ts";
import { randomOperation } from "../support/random-operation.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { type Exploration, explore } from "./lab/explore.ts";
import { newWorld } from "../support/world.ts";

const IMAGES = Number(process.env["QCOWAL_KILL_IMAGES"] ?? 240);
const SEED = Number(process.env["QCOWAL_SEED"] ?? 20_260_101);

/** What the format or this version cannot do: a refusal changes nothing, and there is nothing to kill. */
const REFUSALS = ["REFCOUNT_OVERFLOW", "IMAGE_UNSUPPORTED", "LIMIT_EXCEEDED"];

function randomImage(random: Random, path: string): { bytes: Uint8Array; operation: Operation } {
  const bytes = makeImage(randomSpec(random, { maxClusterBits: random.chance(0.9) ? 12 : 16 }));
  const { snapshots } = inspectImage(bytes);
  return { bytes, operation: randomOperation(random, path, snapshots, "new") };
}

/** Undefined when the operation is refused. */
async function exploreImages(random: Random, count: number): Promise<Exploration | undefined> {
  const images: Record<string, Uint8Array> = {};
  const operations: Operation[] = [];
  for (let i = 0; i < count; i++) {
    const path = `/memory/${i}.qcow2`;
    const { bytes, operation } = randomImage(random, path);
    images[path] = bytes;
    operations.push(operation);
  }
  const lucky = 1 + random.int(30);
  try {
    return await explore(newWorld(images), operations, (event) => event === lucky || event === lucky + 7);
  } catch (error) {
    if (error instanceof QcowalError && REFUSALS.includes(error.code)) return undefined;
    throw error;
  }
}

describe("killed at any event of image or journal, and recovered, an image is as before or as after", () => {
  test.each([
    { what: "one image", count: 1, share: 0.8 },
    { what: "two images in one transaction", count: 2, share: 0.2 },
  ])(
    "$what",
    async ({ what, count, share }) => {
      const rounds = Math.round((IMAGES * share) / count);
      const totals = { images: 0, kills: 0, recoveryKills: 0, refused: 0 };
      for (let round = 0; round < rounds; round++) {
        const seed = SEED + count * 100_000 + round;
        const done = await named(`seed ${seed}`, () => exploreImages(seededRandom(seed), count));
        if (done === undefined) totals.refused += 1;
        else {
          totals.images += count;
          totals.kills += done.kills;
          totals.recoveryKills += done.recoveryKills;
        }
      }
      console.log(`${what}: ${JSON.stringify(totals)}`);
      expect(totals.images).toBeGreaterThan(rounds * count * 0.4);
    },
    10 * 60_000,
  );
});

async function named<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw new Error(`${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
