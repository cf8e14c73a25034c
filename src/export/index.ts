export {
  CONTENT_UNIT,
  contentDifferences,
  diffHistory,
  diffSnapshots,
  totalsOf as diffTotals,
} from "./diff/index.ts";
export type {
  ByteRange,
  ChangedKind,
  ChangedRange,
  DiffOptions,
  DiffSide,
  DiffSides,
  DiffStep,
  DiffTotals,
} from "./diff/index.ts";
export type { Extent, GuestDisk } from "./guest-disk.ts";
