import { snapshotFacts } from "../image/index.ts";
import type { Draft } from "./draft.ts";
import type { DeleteOperation } from "./operation.ts";
import { selectSnapshot } from "./select-snapshot.ts";
import type { Step } from "./step.ts";

export function deleteSnapshot(draft: Draft, operation: DeleteOperation): Step {
  const gone = selectSnapshot(operation.image, draft.snapshots, operation);
  return {
    draft: { ...draft, snapshots: draft.snapshots.filter((snapshot) => snapshot !== gone) },
    outcome: { type: "delete", snapshot: snapshotFacts(gone.entry) },
  };
}
