export { CONTENT_UNIT, contentDifferences, differingUnits } from "./content-differences.ts";
export type { ByteRange } from "./content-differences.ts";
export type { ChangedKind, ChangedRange } from "./changed-range.ts";
export { diffHistory, diffSnapshots, totalsOf } from "./diff-snapshots.ts";
export type { DiffOptions, DiffSides, DiffStep, DiffTotals } from "./diff-snapshots.ts";
export type { DiffSide } from "./root.ts";
