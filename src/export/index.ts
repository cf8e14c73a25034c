export {
  CONTENT_UNIT,
  contentDifferences,
  diffContent,
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
export type { OpenState, OpenStateOptions } from "./open-state.ts";
export {
  ReceivedBefore,
  ReceivedImage,
  contentDigest,
  decodeStream,
  encodeStream,
  exists,
  makeNew,
  newImageFile,
  operationsOf,
  planNewImage,
  receiveReport,
  receiveStream,
  resolvedTarget,
  sendSnapshot,
  targetFormat,
  withVerified,
} from "./stream/index.ts";
export type {
  EncodeOptions,
  ReceiveOptions,
  ReceivePhase,
  ReceiveReport,
  SendOptions,
  StreamContent,
  StreamEnd,
  StreamHeader,
  StreamItem,
  StreamSide,
  TargetFormat,
  VerifiedStream,
} from "./stream/index.ts";
export { nameNewFile } from "./new-file.ts";
export { writeWhole } from "./new-output.ts";
export { openView } from "./view.ts";
export { WorkingDirectory } from "./working-directory.ts";
export type { Chunk, ChunkOptions, View, ViewOptions } from "./view.ts";
export { writeQcow2 } from "./write-qcow2.ts";
export type { WriteQcow2Options, WrittenQcow2 } from "./write-qcow2.ts";
export { writeRaw } from "./write-raw.ts";
export type { WriteRawOptions, WrittenRaw } from "./write-raw.ts";
