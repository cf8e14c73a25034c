export { timeline } from "./timeline.ts";
export type { HistoryEntry, HistoryImage, HistoryRepair, HistoryStatus } from "./timeline.ts";
