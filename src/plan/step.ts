import type { Draft } from "./draft.ts";
import type { ReceiveOutcome, SnapshotOutcome } from "./operation.ts";

/** What one operation makes of a draft. */
export interface Step {
  readonly draft: Draft;
  readonly outcome: SnapshotOutcome | ReceiveOutcome;
}
