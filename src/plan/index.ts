export type { ImagePlan, PlanSummary } from "./image-plan.ts";
export * from "./operation.ts";
export { planImage } from "./plan-image.ts";
export type { PlanOptions } from "./plan-image.ts";
export { planRepair } from "./plan-repair.ts";
export type { RepairPlan, RepairSummary } from "./plan-repair.ts";
export { selectSnapshot, snapshotsNamed } from "./select-snapshot.ts";
