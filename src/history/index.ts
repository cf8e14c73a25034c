export { timeline } from "./timeline.ts";
export type { HistoryEntry, HistoryImage, HistoryStatus } from "./timeline.ts";
