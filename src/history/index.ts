export type { HistoryEntry, HistoryImage, HistoryRepair, HistoryStatus } from "./entry.ts";
export { entryAt, timeline } from "./timeline.ts";
