import type { JournaledOperation, SnapshotOperation } from "./operation.ts";

/** What an operation consists of, one for each of its outcomes: a revert that keeps the present state is a create and a revert. */
export function simpleOperations<Some extends JournaledOperation>(
  operation: Some,
): (Some | SnapshotOperation)[] {
  const whole: JournaledOperation = operation;
  if (whole.type !== "revert" || whole.keep === undefined) return [operation];
  const { keep, ...revertOnly } = whole;
  return [{ type: "create", image: whole.image, name: keep }, revertOnly];
}
