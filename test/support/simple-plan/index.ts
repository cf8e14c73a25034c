/** The planner with its passes over the tables replaced by simple ones: what the fast ones must equal. */
import { isDeepStrictEqual } from "node:util";
import { expect, vi } from "vitest";
import { isQcowalError } from "../../../src/errors/index.ts";
import { type Image, readImage } from "../../../src/image/index.ts";
import type { PhasedIntents } from "../../../src/intent/index.ts";
import { type ImagePlan, type Operation, planImage } from "../../../src/plan/index.ts";
import { NOW } from "../apply-plan.ts";
import { MemoryDisk } from "../memory-disk.ts";

type Planner = typeof planImage;

let simple: Promise<Planner> | undefined;

async function loadSimple(): Promise<Planner> {
  vi.resetModules();
  vi.doMock("../../../src/plan/refcount-changes.ts", () => import("./refcount-changes.ts"));
  vi.doMock("../../../src/plan/count-tables.ts", () => import("./count-tables.ts"));
  vi.doMock("../../../src/plan/copied-flags.ts", () => import("./copied-flags.ts"));
  const { planImage: planner } = await import("../../../src/plan/index.ts");
  if (planner === planImage) throw new Error("the simple planner is the fast one");
  return planner;
}

/** A plan, or the code of the refusal. */
async function planOrRefusal(planner: Planner, image: Image, operations: readonly Operation[]) {
  try {
    const plan = await planner(image, operations, { now: NOW });
    return { ...plan, phases: unpacked(plan.phases) };
  } catch (error) {
    // The simple planner has modules of its own, and so a class of errors of its own.
    const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
    if (!isQcowalError(error) && typeof code !== "string") throw error;
    return { refused: code };
  }
}

/** As arrays: packed ones would look alike whatever they hold. */
const unpacked = ({ reserve, raise, switch: header, lower, discard }: PhasedIntents): PhasedIntents => ({
  reserve: [...reserve],
  raise: [...raise],
  switch: [...header],
  lower: [...lower],
  discard: [...discard],
});

/** Plans the operations in both ways; fails unless the plans are equal, and returns the plan, if it was not refused. */
export async function expectEqualPlans(
  bytes: Uint8Array,
  operations: readonly Operation[],
): Promise<ImagePlan | undefined> {
  simple ??= loadSimple();
  const image = await readImage(new MemoryDisk(bytes));
  const slow = await planOrRefusal(await simple, image, operations);
  const fast = await planOrRefusal(planImage, image, operations);
  // The matcher compares megabytes of a new table byte by byte; it is only asked what differs.
  if (!isDeepStrictEqual(fast, slow)) expect(fast).toEqual(slow);
  return "refused" in fast ? undefined : fast;
}
