import fc from "fast-check";
import { expect, test } from "vitest";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { applyPlan } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { expected, visible } from "../support/model.ts";
import { randomOperation } from "../support/random-operation.ts";
import { seededRandom } from "../support/random.ts";
import { expectEqualPlans } from "../support/simple-plan/index.ts";

test("the passes over whole tables, in one window of the refcounts or in many, plan what passes over single entries plan, on any image", async () => {
  let planned = 0;
  let inWindows = 0;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 - 1 }), async (seed) => {
      const random = seededRandom(seed);
      // Every second image is small in everything: the blocks of 64 refcounts that it may have make several windows.
      const isSmall = seed % 2 === 0;
      const spec = randomSpec(random, { maxClusterBits: isSmall ? 9 : 14 });
      const wide = isSmall && spec.version === 3 ? { refcountOrder: 6 } : {};
      const disk = new MemoryDisk(makeImage({ ...spec, ...wide }));
      for (let step = 0; step < 4; step += 1) {
        const bytes = disk.bytes();
        let state = visible(bytes);
        const operations = [];
        for (let count = 1 + random.int(3); count > 0; count -= 1) {
          const operation = randomOperation(random, disk.path, state.snapshots, `s${step}.${count}`);
          operations.push(operation);
          state = expected(state, operation);
        }
        // Where few blocks are read, they are those that matter.
        const plans = await expectEqualPlans(bytes, operations, seed % 4 < 2 ? true : undefined);
        if (plans === undefined) continue;
        planned += 1;
        if (plans.windows > 1) inWindows += 1;
        const other = new MemoryDisk(bytes);
        await applyPlan(disk, plans.plan);
        await applyPlan(other, plans.windowed);
        expect(Buffer.compare(disk.bytes(), other.bytes())).toBe(0);
      }
    }),
    { numRuns: 150, endOnFailure: true },
  );
  expect(planned).toBeGreaterThan(300);
  expect(inWindows).toBeGreaterThan(60);
});
