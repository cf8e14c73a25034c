import fc from "fast-check";
import { expect, test } from "vitest";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { applyPlan } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { expected, visible } from "../support/model.ts";
import { randomOperation } from "../support/random-operation.ts";
import { seededRandom } from "../support/random.ts";
import { expectEqualPlans } from "../support/simple-plan/index.ts";

test("the passes over whole tables plan what passes over single entries plan, on any image", async () => {
  let planned = 0;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 - 1 }), async (seed) => {
      const random = seededRandom(seed);
      const disk = new MemoryDisk(makeImage(randomSpec(random, { maxClusterBits: 14 })));
      for (let step = 0; step < 4; step += 1) {
        const bytes = disk.bytes();
        let state = visible(bytes);
        const operations = [];
        for (let count = 1 + random.int(3); count > 0; count -= 1) {
          const operation = randomOperation(random, disk.path, state.snapshots, `s${step}.${count}`);
          operations.push(operation);
          state = expected(state, operation);
        }
        const plan = await expectEqualPlans(bytes, operations);
        if (plan === undefined) continue;
        planned += 1;
        await applyPlan(disk, plan);
      }
    }),
    { numRuns: 150, endOnFailure: true },
  );
  expect(planned).toBeGreaterThan(300);
});
