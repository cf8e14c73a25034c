export { applyToNewFile } from "./apply-to-new-file.ts";
export { currentActor } from "./actor.ts";
export type { Actor } from "./actor.ts";
export { decodeBegun, decodeNote, decodePart, decodePrepared } from "./bodies.ts";
export type {
  BegunBody,
  BegunImage,
  EndBody,
  HoldBody,
  MadeBody,
  NoteBody,
  ObservedBody,
  PreparedBody,
  PreparedImage,
  RefusedBody,
  RepairedBody,
} from "./bodies.ts";
export type { EngineContext } from "./context.ts";
export type { Guard, PlannedImage } from "./guard.ts";
export { realEnvironment } from "./environment.ts";
export { identityOf } from "./identity.ts";
export type { ImageIdentity } from "./identity.ts";
export { NO_SNAPSHOTS, tableDigest } from "./observation.ts";
export type { Observation } from "./observation.ts";
export { observe } from "./observe.ts";
export type { Seen } from "./observe.ts";
export { HOLDS_TOPIC, comingTopic, isPathTopic, topicsOf } from "./topics.ts";
export { fencedError } from "./fenced-error.ts";
export type {
  Environment,
  FileId,
  InternalRunOptions,
  OnProgress,
  ProgressEvent,
  RunOptions,
  Step,
} from "./options.ts";
export { recordMade } from "./record-made.ts";
export type { Made } from "./record-made.ts";
export { recordObservation } from "./record-observation.ts";
export { recoverImages, recoverPending } from "./recover.ts";
export type { Recoverer } from "./recover.ts";
export * from "./recovery-table.ts";
export { readFence, refuseRecoverable, repairByScan } from "./repair.ts";
export type { RepairReport, Repairer } from "./repair.ts";
export type * from "./reports.ts";
export { FirstPlan } from "./first-plan.ts";
export { dryRun, groupByImage } from "./planned-images.ts";
export type { OperationsByImage } from "./planned-images.ts";
export { runTransaction } from "./run.ts";
