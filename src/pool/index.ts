export { checkImage } from "./check.ts";
export type { CheckOptions, CheckReport } from "./check.ts";
export { cloneImage } from "./clone.ts";
export type { CloneOptions, CloneReport } from "./clone.ts";
export type { CompactOptions } from "./compact.ts";
export { lineageOf } from "./lineage.ts";
export type { Lineage } from "./lineage.ts";
export { listSnapshots } from "./list-snapshots.ts";
export type { ListOptions, SnapshotInfo } from "./list-snapshots.ts";
export { journalStamp } from "../../journal/index.ts";
export { openHistory, statusWithoutHistory } from "./open-history.ts";
export type { Blame, HistoryQuery, PlannedIntent } from "./history-reader.ts";
export type { History, HistoryOptions } from "./open-history.ts";
export { planFirst, runFirst } from "./first-operation.ts";
export type { PlanOperationsOptions } from "./open-pool.ts";
export { openPool, planOperations } from "./open-pool.ts";
export { Pool } from "./pool.ts";
export type {
  DeleteOptions,
  MendOptions,
  PoolOptions,
  RecoverOptions,
  RecoveryReport,
  RenameOptions,
  RevertOptions,
  SnapshotOptions,
  SnapshotRef,
  UndoOptions,
} from "./pool-options.ts";
export { planHold } from "./holds.ts";
export type { HoldOptions, HoldReport, HoldVerb, UndoReport } from "./holds.ts";
export { planReceive } from "./receive.ts";
export type { ImageReceiveOptions, ImageReceiveReport } from "./receive.ts";
export { planPrune } from "./prune.ts";
export type { PruneOptions, PruneReport, PrunedImage, PrunedSnapshot, RetentionPolicy } from "./prune.ts";
export type { ImageStatus, StatusOptions } from "./status.ts";
export type { TransactionListener } from "./transaction-events.ts";
export { repairWithoutJournal } from "./repair.ts";
export type { RepairOptions } from "./repair.ts";
export { serveImages } from "./serve-images.ts";
export type { ImageServer, ServeOptions } from "./serve-images.ts";
