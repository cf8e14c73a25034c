export { entriesUntil } from "./as-of.ts";
export type { Moment } from "./as-of.ts";
export type { HistoryEntry, HistoryImage, HistoryRepair, HistoryStatus } from "./entry.ts";
export { imageIn } from "./image-names.ts";
export { snapshotTree } from "./snapshot-tree.ts";
export type { Ancestor, SnapshotEvent, SnapshotNode, SnapshotTree } from "./snapshot-tree.ts";
export { entryAt, timeline } from "./timeline.ts";
