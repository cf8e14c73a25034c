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
export { contentDigest, decodeStream, encodeStream, receiveStream } from "./stream/index.ts";
export type {
  EncodeOptions,
  ReceiveOptions,
  ReceivePhase,
  ReceiveReport,
  StreamContent,
  StreamEnd,
  StreamHeader,
  StreamItem,
  StreamSide,
} from "./stream/index.ts";
