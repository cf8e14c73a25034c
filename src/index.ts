/** qcowal: crash-safe, journaled snapshots for qcow2 images. */
export { QcowalError, isQcowalError } from "./errors/index.ts";
export type { ErrorCode, ErrorDetails } from "./errors/index.ts";
export type {
  Actor,
  DryRunReport,
  ImageReport,
  Observation,
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
export { HISTORY_KINDS } from "./history/index.ts";
export type {
  Ancestor,
  HistoryEntry,
  HistoryFilter,
  HistoryImage,
  HistoryKind,
  HistoryRepair,
  HistoryStatus,
  Moment,
  SnapshotEvent,
  SnapshotNode,
  SnapshotRename,
  SnapshotTree,
} from "./history/index.ts";
export { headerChanges } from "./format/index.ts";
export type { HeaderFieldChange } from "./format/index.ts";
export { exportJournal, importJournal } from "../journal/index.ts";
export type {
  CompactedInfo,
  CompactionReport,
  ExportOptions,
  ImportOptions,
  ImportReport,
  JournalHead,
  JournalInfo,
  JournalReader,
  JournalRecord,
  JournalVerdict,
  PendingTransaction,
  RecordKind,
  RecordRange,
  StoredRecord,
  TornTail,
  TransactionState,
  VerifyOptions,
} from "../journal/index.ts";
export { diffHistory, diffSnapshots, diffTotals } from "./export/index.ts";
export type {
  ChangedKind,
  ChangedRange,
  DiffOptions,
  DiffSide,
  DiffSides,
  DiffStep,
  DiffTotals,
} from "./export/index.ts";
export type { Intent, IntentList, Phase, PhasedIntents } from "./intent/index.ts";
export type {
  CreateOperation,
  DeleteOperation,
  Mended,
  Operation,
  OperationOutcome,
  PlanSummary,
  RenameOperation,
  RepairOperation,
  RepairOutcome,
  RepairSummary,
  RevertOperation,
  SnapshotOperation,
  SnapshotOutcome,
} from "./plan/index.ts";
export type { Finding, FindingKind, RootUsage, SnapshotFacts, Usage } from "./image/index.ts";
export {
  checkImage,
  journalStamp,
  lineageOf,
  listSnapshots,
  openHistory,
  openPool,
  planOperations,
  repairWithoutJournal,
  statusWithoutHistory,
} from "./pool/index.ts";
export type {
  Blame,
  CheckOptions,
  CheckReport,
  CompactOptions,
  History,
  HistoryOptions,
  HistoryQuery,
  ImageStatus,
  Lineage,
  ListOptions,
  MendOptions,
  PlannedIntent,
  Pool,
  PoolOptions,
  RecoverOptions,
  RecoveryReport,
  RenameOptions,
  RepairOptions,
  RevertOptions,
  SnapshotInfo,
  SnapshotOptions,
  SnapshotRef,
  StatusOptions,
  TransactionListener,
} from "./pool/index.ts";
