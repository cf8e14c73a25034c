import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isQcowalError } from "../../src/errors/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { applyPlan, planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { expected, visible } from "../support/model.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { randomOperation } from "../support/random-operation.ts";
import { seededRandom } from "../support/random.ts";

/** Refusals that random images and long sequences run into; each must leave the image as it was. */
const REFUSALS = new Set(["REFCOUNT_OVERFLOW", "IMAGE_UNSUPPORTED"]);

async function runSequence(seed: number, steps: number, batch: boolean): Promise<number> {
  const random = seededRandom(seed);
  const disk = new MemoryDisk(makeImage(randomSpec(random, { maxClusterBits: 16 })));
  let done = 0;
  for (let step = 0; step < steps; step += 1) {
    const bytes = disk.bytes();
    let state = visible(bytes);
    const operations = [];
    for (let count = batch ? 1 + random.int(3) : 1; count > 0; count -= 1) {
      const operation = randomOperation(random, disk.path, state.snapshots, `s${step}.${count}`);
      operations.push(operation);
      state = expected(state, operation);
    }
    try {
      const plan = await planOn(disk, ...operations);
      await applyPlan(disk, plan);
    } catch (error) {
      if (!isQcowalError(error) || !REFUSALS.has(error.code)) throw error;
      expect(Buffer.compare(disk.bytes(), bytes)).toBe(0);
      continue;
    }
    done += 1;
    const after = disk.bytes();
    expect(describeCheck(checkImage(after)), JSON.stringify(operations)).toBe("clean");
    expect(visible(after), JSON.stringify(operations)).toEqual(state);
  }
  return done;
}

describe("the planner against a naive model that recounts everything", () => {
  test("any sequence of operations on any image ends clean, with the content that the model says", async () => {
    let operations = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 - 1 }), async (seed) => {
        operations += await runSequence(seed, 6, false);
      }),
      { numRuns: 250, endOnFailure: true },
    );
    expect(operations).toBeGreaterThan(700);
  });

  test("several operations in one plan equal the same operations one by one", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 - 1 }), async (seed) => {
        await runSequence(seed, 4, true);
      }),
      { numRuns: 120, endOnFailure: true },
    );
  });
});
