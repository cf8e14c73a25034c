export { entriesUntil } from "./as-of.ts";
export type { Moment } from "./as-of.ts";
export type { HistoryEntry, HistoryImage, HistoryRepair, HistoryStatus } from "./entry.ts";
export { HISTORY_KINDS, isWanted } from "./filter.ts";
export type { HistoryFilter, HistoryKind } from "./filter.ts";
export { imageIn } from "./image-names.ts";
export { liveNodes, snapshotTree } from "./snapshot-tree.ts";
export type {
  Ancestor,
  SnapshotEvent,
  SnapshotHold,
  SnapshotNode,
  SnapshotRename,
  SnapshotTree,
} from "./snapshot-tree.ts";
export {
  assertNothingSince,
  assertUndoable,
  holdUndoOf,
  transactionToUndo,
  undoImpossible,
  undoOf,
} from "./undo.ts";
export type { HoldUndo } from "./undo.ts";
export { entryAt, timeline } from "./timeline.ts";
export type { TimelineRange } from "./timeline.ts";
