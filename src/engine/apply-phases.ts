import type { Disk } from "../disk/index.ts";
import { invariant } from "../errors/index.ts";
import { PHASES, type Phase } from "../intent/index.ts";
import type { ImagePlan } from "../plan/index.ts";
import { applyIntents } from "./apply-intents.ts";
import type { PhasePart } from "./bodies.ts";

export type PartSource = Iterable<PhasePart> | AsyncIterable<PhasePart>;

/** The parts of a plan in the order of the protocol: phase by phase, in each phase image by image. */
export function* partsOf(
  plans: readonly Pick<ImagePlan, "phases">[],
  phases: readonly Phase[] = PHASES,
): Generator<PhasePart> {
  for (const phase of phases) {
    for (const [image, plan] of plans.entries()) {
      const intents = plan.phases[phase];
      if (intents.length > 0) yield { phase, image, intents };
    }
  }
}

/**
 * Applies parts that come in phase order, with a sync of every image that was
 * written between two phases: if power fails inside a phase, all earlier phases
 * are on disk and no later one has begun. What the last phase wrote is left
 * pending for the sync of the caller's next step.
 */
export async function applyParts(
  disks: readonly Disk[],
  parts: PartSource,
  onPhase: (phase: Phase) => void,
): Promise<void> {
  let current: Phase | undefined;
  const written = new Set<Disk>();
  for await (const { phase, image, intents } of parts) {
    if (phase !== current) {
      await syncAll(written);
      current = phase;
      onPhase(phase);
    }
    const disk = disks[image];
    invariant(disk !== undefined, `part for image ${image} of ${disks.length}`);
    await applyIntents(disk, intents);
    // A discard is advisory and needs no barrier of its own.
    if (phase !== "discard") written.add(disk);
  }
  await syncAll(written);
}

export async function syncAll(disks: Set<Disk>): Promise<void> {
  for (const disk of disks) await disk.sync();
  disks.clear();
}
