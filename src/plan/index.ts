export type { ImagePlan, PlanSummary } from "./image-plan.ts";
export * from "./operation.ts";
export { planImage } from "./plan-image.ts";
export type { PlanOptions } from "./plan-image.ts";
export { selectSnapshot, snapshotsNamed } from "./select-snapshot.ts";
