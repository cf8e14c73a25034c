import type { Disk } from "../disk/index.ts";
import { PHASES } from "../intent/index.ts";
import type { ImagePlan } from "../plan/index.ts";
import { applyPatches } from "./finish-header.ts";
import { applyParts, partsOf } from "./apply-phases.ts";

/**
 * Carries out a plan without a record: for an image that has no name yet, so
 * that whoever is interrupted makes it anew. Synced when it returns. What
 * `checkpoint` throws, which is called before each intent, ends it.
 */
export async function applyToNewFile(
  disk: Disk,
  plan: ImagePlan,
  checkpoint: () => void = () => undefined,
): Promise<void> {
  if (plan.fileSize.to > plan.fileSize.from) await disk.truncate(plan.fileSize.to);
  await applyParts([disk], partsOf([plan], ["reserve"]), checkpoint);
  await plan.verify?.();
  const behind = PHASES.filter((phase) => phase !== "reserve");
  await applyParts([disk], partsOf([plan], behind), checkpoint);
  for (const patch of plan.extensionPatches ?? []) await applyPatches(disk, [patch]);
}
