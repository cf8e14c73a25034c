import type { Disk } from "../disk/index.ts";
import { invariant, isQcowalError } from "../errors/index.ts";
import {
  type Intent,
  type IntentState,
  PHASES,
  type Phase,
  applyIntent,
  inspectIntent,
} from "../intent/index.ts";
import type { ImagePlan } from "../plan/index.ts";
import type { PhasePart } from "./bodies.ts";
import type { ImageState } from "./recovery-table.ts";

type PartSource = Iterable<PhasePart> | AsyncIterable<PhasePart>;

/** The parts of a plan in the order of the protocol: phase by phase, in each phase image by image. */
export function* partsOf(plans: readonly Pick<ImagePlan, "phases">[]): Generator<PhasePart> {
  for (const phase of PHASES) {
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
    for (const intent of intents) await applyIntent(disk, intent);
    // A discard is advisory and needs no barrier of its own.
    if (phase !== "discard") written.add(disk);
  }
  await syncAll(written);
}

export async function syncAll(disks: Set<Disk>): Promise<void> {
  for (const disk of disks) await disk.sync();
  disks.clear();
}

export interface InspectedImage {
  readonly state: ImageState;
  /** The intent that shows something foreign, in words. */
  readonly where: string;
}

/**
 * What the image shows under the intents of a transaction, without writing.
 * Before the commit the reserved clusters may hold anything; after it their
 * contents must be there, because they were synced first.
 */
export async function inspectParts(
  disk: Disk,
  image: number,
  parts: PartSource,
  committed: boolean,
): Promise<InspectedImage> {
  let applied = false;
  for await (const part of parts) {
    if (part.image !== image || (part.phase === "reserve" && !committed)) continue;
    for (const intent of part.intents) {
      const state = await inspectOrForeign(disk, intent);
      if (state === "foreign") return { state, where: describeIntent(part.phase, intent) };
      if (part.phase !== "reserve" && part.phase !== "discard" && state !== "before") applied = true;
    }
  }
  return { state: applied ? "applied" : "before", where: "" };
}

/** Bytes that cannot be read cannot be judged: they count as foreign, and nothing is written. */
async function inspectOrForeign(disk: Disk, intent: Intent): Promise<IntentState> {
  try {
    return await inspectIntent(disk, intent);
  } catch (error) {
    if (isQcowalError(error, "IO_FAILED")) return "foreign";
    throw error;
  }
}

function describeIntent(phase: Phase, intent: Intent): string {
  const at = (offset: number): string => `at 0x${offset.toString(16)}`;
  switch (intent.kind) {
    case "fill":
      return `${phase}: reserved cluster ${at(intent.offset)}`;
    case "refcount":
      return `${phase}: refcount block ${at(intent.block)}`;
    case "copied":
      return `${phase}: L1 or L2 table ${at(intent.table)}`;
    case "pointer":
      return `${phase}: refcount table slot ${at(intent.slot)}`;
    case "header":
      return `${phase}: header`;
    case "discard":
      return `${phase}: freed clusters`;
  }
}
