export { applyPolicy } from "./apply-policy.ts";
export { parseDuration } from "./duration.ts";
export { policyFrom } from "./policy.ts";
export type { RetentionPolicy } from "./policy.ts";
export { parseSize } from "./size.ts";
export type { PrunableSnapshot, Verdict } from "./snapshot.ts";
