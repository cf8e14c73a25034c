import type { PhasedIntents } from "../intent/index.ts";
import type { JournaledOperation, OperationOutcome, PlanSummary } from "../plan/index.ts";
import type { RecoveryAction } from "./recovery-table.ts";

export interface ImageReport {
  /** Path of the image with links resolved. */
  readonly image: string;
  readonly outcomes: readonly OperationOutcome[];
  readonly summary: PlanSummary;
}

/** What `run` did. */
export interface RunReport {
  readonly transaction: number;
  /** Directory of the journal that holds its record. */
  readonly journal: string;
  readonly images: readonly ImageReport[];
  /** Interrupted transactions on these images that were recovered first. */
  readonly recovered: readonly RecoveredTransaction[];
  readonly durationMs: number;
}

/** What `run` with `dryRun` would do. */
export interface DryRunReport {
  readonly dryRun: true;
  readonly images: readonly (ImageReport & {
    readonly fileSize: { readonly from: number; readonly to: number };
    /** Each phase can be gone through any number of times; as JSON it is an array. */
    readonly phases: PhasedIntents;
  })[];
}

/** How an interrupted transaction ended. */
export interface RecoveredTransaction {
  readonly transaction: number;
  /** `finished`: every image is as after it. `aborted`: every image is as before it. */
  readonly result: "finished" | "aborted";
  /** Set when an image that carries no fence any more contradicts that: it was repaired by a scan, restored, or changed since. */
  readonly doubt?: string;
  readonly operations: readonly JournaledOperation[];
  readonly images: readonly RecoveredImage[];
}

export interface RecoveredImage {
  readonly image: string;
  readonly action: RecoveryAction;
  /** What the operations did to it, when they are finished. */
  readonly outcomes?: readonly OperationOutcome[];
}
