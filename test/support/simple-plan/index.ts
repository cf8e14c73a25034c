/** The planner with its passes over the tables replaced by simple ones: what the fast ones must equal. */
import { isDeepStrictEqual } from "node:util";
import { expect, vi } from "vitest";
import { isQcowalError } from "../../../src/errors/index.ts";
import { type Image, openRefcounts, readImage } from "../../../src/image/index.ts";
import type { PhasedIntents } from "../../../src/intent/index.ts";
import { type ImagePlan, type Operation, type PlanOptions, planImage } from "../../../src/plan/index.ts";
import type { CopiedIntent, EntryRun, Intent } from "../../../src/intent/index.ts";
import { NOW } from "../apply-plan.ts";
import { MemoryDisk } from "../memory-disk.ts";

type Planner = typeof planImage;

/** Less than any block takes: a window has at least one. */
const ONE_BLOCK = 1;

let simple: Promise<Planner> | undefined;

async function loadSimple(): Promise<Planner> {
  vi.resetModules();
  vi.doMock("../../../src/plan/refcount-changes.ts", () => import("./refcount-changes.ts"));
  vi.doMock("../../../src/plan/counted-tables.ts", () => import("./counted-tables.ts"));
  vi.doMock("../../../src/plan/copied-flags.ts", () => import("./copied-flags.ts"));
  const { planImage: planner } = await import("../../../src/plan/index.ts");
  if (planner === planImage) throw new Error("the simple planner is the fast one");
  return planner;
}

/** A plan, or the code of the refusal. */
async function planOrRefusal(
  planner: Planner,
  image: Image,
  operations: readonly Operation[],
  options: Pick<PlanOptions, "windowBytes" | "onDemand" | "readsAllBlocks">,
) {
  try {
    const plan = await planner(image, operations, { now: NOW, ...options });
    return { ...plan, phases: unpacked(plan.phases) };
  } catch (error) {
    // The simple planner has modules of its own, and so a class of errors of its own.
    const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
    if (!isQcowalError(error) && typeof code !== "string") throw error;
    return { refused: code };
  }
}

/** As arrays: packed ones would look alike whatever they hold. */
export const unpacked = ({
  reserve,
  raise,
  switch: header,
  lower,
  discard,
}: PhasedIntents): PhasedIntents => ({
  reserve: [...reserve],
  raise: [...raise],
  switch: [...header],
  lower: [...lower],
  discard: [...discard],
});

/** What windows of a block each decided about the flags of one table, as one intent again. */
export function withWholeTables(plan: ImagePlan): ImagePlan {
  const { raise, lower } = plan.phases;
  return { ...plan, phases: { ...plan.phases, raise: joined([...raise]), lower: joined([...lower]) } };
}

function joined(intents: readonly Intent[]): Intent[] {
  const tables = new Map<number, CopiedIntent[]>();
  for (const intent of intents) {
    if (intent.kind !== "copied") continue;
    tables.set(intent.table, [...(tables.get(intent.table) ?? []), intent]);
  }
  return intents.flatMap((intent): Intent[] => {
    if (intent.kind !== "copied") return [intent];
    const parts = tables.get(intent.table) ?? [];
    tables.delete(intent.table);
    const entries = parts
      .flatMap(({ runs }) => runs)
      .flatMap(([first, count]) => Array.from({ length: count }, (_, index) => first + index));
    return parts.length === 0 ? [] : [{ ...intent, runs: runsOf(entries.toSorted((a, b) => a - b)) }];
  });
}

function runsOf(entries: readonly number[]): EntryRun[] {
  const runs: [number, number][] = [];
  for (const entry of entries) {
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === entry) last[1] += 1;
    else runs.push([entry, 1]);
  }
  return runs;
}

export interface EqualPlans {
  readonly plan: ImagePlan;
  /** The same, planned in windows of a single refcount block. */
  readonly windowed: ImagePlan;
  /** How many windows that took. */
  readonly windows: number;
}

/** Plans the operations in all ways, with `onDemand` against one that reads all refcount blocks; fails unless the plans are equal, and returns them, if they were not refused. */
export async function expectEqualPlans(
  bytes: Uint8Array,
  operations: readonly Operation[],
  onDemand?: boolean,
): Promise<EqualPlans | undefined> {
  simple ??= loadSimple();
  const image = await readImage(new MemoryDisk(bytes));
  const slow = await planOrRefusal(await simple, image, operations, { onDemand, readsAllBlocks: true });
  const plan = await planOrRefusal(planImage, image, operations, { onDemand });
  const windowed = await planOrRefusal(planImage, image, operations, { onDemand, windowBytes: ONE_BLOCK });
  for (const [is, should] of [
    [plan, slow],
    ["refused" in windowed ? windowed : withWholeTables(windowed), plan],
  ]) {
    // The matcher compares megabytes of a new table byte by byte; it is only asked what differs.
    if (!isDeepStrictEqual(is, should)) expect(is).toEqual(should);
  }
  if ("refused" in plan || "refused" in windowed) return undefined;
  const { windows } = await openRefcounts(image.disk, image.header, image.fileSize, {
    perEntry: 0,
    bytes: ONE_BLOCK,
  });
  return { plan, windowed, windows: windows.length };
}
