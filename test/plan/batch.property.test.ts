import fc from "fast-check";
import { expect, test } from "vitest";
import { isQcowalError } from "../../src/errors/index.ts";
import type { Operation } from "../../src/plan/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { applyPlan, planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { expected, visible } from "../support/model.ts";
import { checkImage, describeCheck, inspectImage, logicalState } from "../support/naive-qcow2.ts";
import { randomOperation } from "../support/random-operation.ts";
import { seededRandom } from "../support/random.ts";

/** What a random image or a long list runs into. */
const REFUSALS = new Set(["REFCOUNT_OVERFLOW", "IMAGE_UNSUPPORTED"]);

async function carriedOut(
  bytes: Uint8Array,
  batches: readonly (readonly Operation[])[],
): Promise<Uint8Array | undefined> {
  const disk = new MemoryDisk(bytes);
  try {
    for (const batch of batches) await applyPlan(disk, await planOn(disk, ...batch));
    return disk.bytes();
  } catch (error) {
    if (isQcowalError(error) && REFUSALS.has(error.code)) return undefined;
    throw error;
  }
}

test("a batch leaves the same list, ids and dates included, the same content and a clean image as its operations one by one", async () => {
  let compared = 0;
  const types = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 - 1 }), async (seed) => {
      const random = seededRandom(seed);
      const bytes = makeImage(randomSpec(random, { maxClusterBits: 12 }));
      const { path } = new MemoryDisk(bytes);
      const operations: Operation[] = [];
      let state = visible(bytes);
      for (let count = 2 + random.int(6); count > 0; count -= 1) {
        const operation = randomOperation(random, path, state.snapshots, `new ${count}`);
        operations.push(operation);
        state = expected(state, operation);
      }
      const oneByOne = await carriedOut(
        bytes,
        operations.map((operation) => [operation]),
      );
      // What is too much on the way may be nothing in the end: a batch may do what its operations cannot.
      if (oneByOne === undefined) return;
      const batch = await carriedOut(bytes, [operations]);
      if (batch === undefined) throw new Error(`refused as a batch only: ${JSON.stringify(operations)}`);
      expect(describeCheck(checkImage(batch)), JSON.stringify(operations)).toBe("clean");
      expect(logicalState(inspectImage(batch)), JSON.stringify(operations)).toEqual(
        logicalState(inspectImage(oneByOne)),
      );
      compared += 1;
      for (const { type } of operations) types.add(type);
    }),
    { numRuns: 120, endOnFailure: true },
  );
  expect(compared).toBeGreaterThan(80);
  expect(types).toEqual(new Set(["create", "revert", "delete", "rename"]));
});
