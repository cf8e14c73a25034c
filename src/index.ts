/** qcowal: crash-safe, journaled snapshots for qcow2 images. */
export { QcowalError, isQcowalError } from "./errors/index.ts";
export type { ErrorCode, ErrorDetails } from "./errors/index.ts";
export type {
  Actor,
  DryRunReport,
  ImageReport,
  OnProgress,
  ProgressEvent,
  RecoveredImage,
  RecoveredTransaction,
  RecoveryAction,
  RepairReport,
  RunOptions,
  RunReport,
  Step,
} from "./engine/index.ts";
export type { CompactedInfo, CompactionReport, JournalInfo } from "../journal/index.ts";
export type { HistoryEntry, HistoryImage, HistoryRepair, HistoryStatus } from "./history/index.ts";
export type { Intent, IntentList, Phase, PhasedIntents } from "./intent/index.ts";
export type {
  CreateOperation,
  DeleteOperation,
  Mended,
  Operation,
  OperationOutcome,
  PlanSummary,
  RepairOperation,
  RepairOutcome,
  RepairSummary,
  RevertOperation,
  SnapshotOperation,
  SnapshotOutcome,
} from "./plan/index.ts";
export type { Finding, FindingKind, RootUsage, Usage } from "./image/index.ts";
export { checkImage, listSnapshots, openPool, planOperations, repairWithoutJournal } from "./pool/index.ts";
export type {
  CheckOptions,
  CheckReport,
  CompactOptions,
  ListOptions,
  MendOptions,
  Pool,
  PoolOptions,
  RecoverOptions,
  RecoveryReport,
  RepairOptions,
  RevertOptions,
  SnapshotInfo,
  SnapshotOptions,
  SnapshotRef,
} from "./pool/index.ts";
