export { type CheckTablesOptions, type CheckedTables, checkTables } from "./check-tables.ts";
export type { Finding, FindingKind } from "./findings.ts";
export type { CheckMemory } from "./passes.ts";
export type { RootUsage, Usage } from "./usage.ts";
