import { snapshotFacts } from "../image/index.ts";
import { deletedName } from "./deleted-name.ts";
import type { Draft } from "./draft.ts";
import type { DeleteOperation } from "./operation.ts";
import { renamed } from "./rename.ts";
import { selectSnapshot } from "./select-snapshot.ts";
import { checkLength } from "./snapshot-name.ts";
import type { Step } from "./step.ts";

export function deleteSnapshot(draft: Draft, operation: DeleteOperation, now: number): Step {
  const { image, recoverableFor } = operation;
  const gone = selectSnapshot(image, draft.snapshots, operation);
  const snapshot = snapshotFacts(gone.entry);
  if (recoverableFor === undefined) {
    return {
      draft: { ...draft, snapshots: draft.snapshots.filter((other) => other !== gone) },
      outcome: { type: "delete", snapshot },
    };
  }
  const to = deletedName({ name: gone.name, until: now + recoverableFor });
  checkLength(image, to, "The name under which a deleted snapshot is kept");
  return { draft: renamed(draft, gone, to), outcome: { type: "delete", snapshot, to } };
}
