/**
 * Plans the repair of a fenced image whose journal is lost. What a transaction
 * leaves at any moment is the old state or the new one with refcounts that are
 * too high and COPIED flags that do not fit; an interrupted repair leaves more,
 * because it began with more. The same plan mends both. It does not touch the
 * header unless it has to: which of the two states that shows is what is kept.
 */
import { QcowalError, isQcowalError } from "../errors/index.ts";
import type { Image } from "../image/index.ts";
import type { PhasedIntents } from "../intent/index.ts";
import type { ImagePlan } from "./image-plan.ts";
import type { Mended } from "./operation.ts";
import { planRepairOperation } from "./plan-repair-operation.ts";
import type { RepairOptions } from "./repair-options.ts";

export interface RepairPlan {
  readonly phases: PhasedIntents;
  readonly summary: RepairSummary;
}

export interface RepairSummary {
  readonly clusterSize: number;
  /** Clusters to which nothing refers. */
  readonly clustersFreed: number;
  /** Refcounts that were too high, those of freed clusters included. */
  readonly refcountsLowered: number;
  /** Refcounts that were too low: those that an interrupted repair did not come to. */
  readonly refcountsRaised: number;
  readonly copiedFlagsChanged: number;
}

/** @throws QcowalError IMAGE_INVALID, IMAGE_DAMAGED with `findings`; IMAGE_UNSUPPORTED, LIMIT_EXCEEDED */
export async function planRepair(image: Image, options: RepairOptions = {}): Promise<RepairPlan> {
  const plan = await planned(image, options);
  const [outcome] = plan.outcomes;
  if (outcome?.type === "repair" && outcome.left.length > 0) throw notOurs(image.disk.path, outcome.left);
  const mended = outcome?.type === "repair" ? outcome.mended : undefined;
  const { clusterSize, clustersFreed, copiedFlagsChanged } = plan.summary;
  return {
    phases: { ...plan.phases, switch: mended !== undefined && isInHeader(mended) ? plan.phases.switch : [] },
    summary: {
      clusterSize,
      clustersFreed,
      refcountsLowered: (mended?.leakedClusters ?? 0) + (mended?.refcountsTooHigh ?? 0),
      refcountsRaised: mended?.refcountsTooLow ?? 0,
      copiedFlagsChanged,
    },
  };
}

async function planned(image: Image, options: RepairOptions): Promise<ImagePlan> {
  const { path } = image.disk;
  try {
    return await planRepairOperation(image, { type: "repair", image: path }, options);
  } catch (cause) {
    if (!isQcowalError(cause, "IMAGE_DAMAGED")) throw cause;
    throw notOurs(path, cause.details["findings"] as readonly string[], cause);
  }
}

function notOurs(path: string, findings: readonly string[], cause?: QcowalError): QcowalError {
  return new QcowalError(
    "IMAGE_DAMAGED",
    `${path} shows what no interrupted operation leaves: ${findings.join("; ")}. Nothing was changed, the fence stays; restore the journal ('qcowal recover') or the image.`,
    { cause, details: { ...cause?.details, path, findings } },
  );
}

const isInHeader = ({
  dirtyBit,
  corruptBit,
  refcountTable,
  snapshotTable,
  snapshotEntries,
  snapshotEntriesCut,
}: Mended): boolean =>
  dirtyBit || corruptBit || refcountTable || snapshotTable || snapshotEntries + snapshotEntriesCut > 0;
