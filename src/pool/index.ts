export { checkImage } from "./check.ts";
export type { CheckOptions, CheckReport } from "./check.ts";
export type { CompactOptions } from "./compact.ts";
export { listSnapshots } from "./list-snapshots.ts";
export type { ListOptions, SnapshotInfo } from "./list-snapshots.ts";
export { Pool, openPool, planOperations } from "./pool.ts";
export type {
  MendOptions,
  PoolOptions,
  RecoverOptions,
  RecoveryReport,
  RevertOptions,
  SnapshotOptions,
  SnapshotRef,
} from "./pool.ts";
export { repairWithoutJournal } from "./repair.ts";
export type { RepairOptions } from "./repair.ts";
