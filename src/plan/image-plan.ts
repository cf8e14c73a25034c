import type { BytePatch, SnapshotEntry } from "../format/index.ts";
import type { PhasedIntents } from "../intent/index.ts";
import type { OperationOutcome } from "./operation.ts";

/** What a transaction will do to one image. Plain data: it can be printed, compared and logged. */
export interface ImagePlan {
  readonly outcomes: readonly OperationOutcome[];
  /** Length of the file before, and while the reserved clusters are in it. */
  readonly fileSize: { readonly from: number; readonly to: number };
  readonly phases: PhasedIntents;
  /**
   * Patches of the header extensions, applied one after the other with a sync
   * after each, when all phases are: until then the fence explains itself behind them.
   */
  readonly extensionPatches?: readonly BytePatch[];
  /**
   * The snapshot table as it will be, for the record; undefined where damaged
   * entries stay, of which nobody knows what the next reader makes.
   */
  readonly snapshots?: readonly SnapshotEntry[];
  /** Reads what was reserved, before the decision; what it throws calls the transaction off. */
  readonly verify?: () => Promise<void>;
  readonly summary: PlanSummary;
}

export interface PlanSummary {
  readonly clusterSize: number;
  readonly clustersAllocated: number;
  readonly clustersFreed: number;
  /** L2 tables that had to be read to count references. */
  readonly tablesCounted: number;
  /** Refcount entries that change, new clusters' included. */
  readonly refcountsChanged: number;
  readonly copiedFlagsChanged: number;
}
