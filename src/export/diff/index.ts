export { CONTENT_UNIT, contentDifferences, differingUnits } from "./content-differences.ts";
export type { ByteRange } from "./content-differences.ts";
export type { ChangedKind, ChangedRange } from "./changed-range.ts";
export { diffContent } from "./diff-content.ts";
export { diffRoots } from "./diff-roots.ts";
export { diffHistory, diffSnapshots, totalsOf } from "./diff-snapshots.ts";
export type { DiffOptions, DiffSides, DiffStep, DiffTotals } from "./diff-snapshots.ts";
export { openRoots, rootOf } from "./root.ts";
export type { DiffSide, SnapshotRef } from "./root.ts";
