import type { Disk } from "../../src/disk/index.ts";
import { readImage } from "../../src/image/index.ts";
import { PHASES, applyIntent } from "../../src/intent/index.ts";
import { type ImagePlan, type Operation, planImage } from "../../src/plan/index.ts";

export const NOW = Date.UTC(2026, 0, 2, 3, 4, 5);

export async function planOn(disk: Disk, ...operations: readonly Operation[]): Promise<ImagePlan> {
  const isRepair = operations.some(({ type }) => type === "repair");
  return planImage(await readImage(disk, isRepair), operations, { now: NOW });
}

/** Carries a plan out without journal, fence or syncs: the planner alone is judged. */
export async function applyPlan(
  disk: Disk,
  plan: Pick<ImagePlan, "phases" | "fileSize" | "extensionPatches">,
): Promise<void> {
  if (plan.fileSize.to > plan.fileSize.from) await disk.truncate(plan.fileSize.to);
  for (const phase of PHASES) for (const intent of plan.phases[phase]) await applyIntent(disk, intent);
  for (const patch of plan.extensionPatches ?? [])
    await applyIntent(disk, { kind: "header", patches: [patch] });
}
