import { snapshotFacts, toSnapshot } from "../image/index.ts";
import { type Draft, withRoot } from "./draft.ts";
import type { RenameOperation } from "./operation.ts";
import { selectSnapshot } from "./select-snapshot.ts";
import { checkName } from "./snapshot-name.ts";
import type { Step } from "./step.ts";

const utf8 = new TextEncoder();

/** The same draft, in which a snapshot of it has another name. */
export function renamed(draft: Draft, snapshot: Draft["snapshots"][number], name: string): Draft {
  const other = withRoot(toSnapshot({ ...snapshot.entry, name: utf8.encode(name) }), snapshot.root);
  return { ...draft, snapshots: draft.snapshots.map((one) => (one === snapshot ? other : one)) };
}

export function rename(draft: Draft, operation: RenameOperation): Step {
  const { image, to, force } = operation;
  const snapshot = selectSnapshot(image, draft.snapshots, operation);
  checkName(draft, image, to, force);
  return {
    draft: renamed(draft, snapshot, to),
    outcome: { type: "rename", snapshot: snapshotFacts(snapshot.entry), to },
  };
}
