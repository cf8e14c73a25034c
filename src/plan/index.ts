export type { ImagePlan, PlanSummary } from "./image-plan.ts";
export { deletedName, expiredSnapshots, parseDeletedName } from "./deleted-name.ts";
export type { DeletedName } from "./deleted-name.ts";
export * from "./operation.ts";
export { OPERATIONS_SCHEMA } from "./operation-schema.ts";
export { operationsDocument } from "./operations-document.ts";
export type { OperationsDocument } from "./operations-document.ts";
export { planImage } from "./plan-image.ts";
export type { PlanOptions } from "./plan-image.ts";
export { planRepair } from "./plan-repair.ts";
export type { RepairPlan, RepairSummary } from "./plan-repair.ts";
export type {
  OpenReceived,
  ReceivedContent,
  ReceivedPiece,
  ReceivedRange,
  ReceivedRoot,
} from "./received-content.ts";
export { simpleOperations } from "./simple-operations.ts";
export { selectSnapshot, snapshotsNamed } from "./select-snapshot.ts";
