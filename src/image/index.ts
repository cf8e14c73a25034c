export * from "./bitmaps.ts";
export * from "./census.ts";
export * from "./check/index.ts";
export * from "./image.ts";
export * from "./l1-table.ts";
export * from "./read-table.ts";
export * from "./refcounts.ts";
export * from "./snapshots.ts";
