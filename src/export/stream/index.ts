export { contentDigest } from "./guest-chunks.ts";
export { decodeStream } from "./decode-stream.ts";
export { encodeStream } from "./encode-stream.ts";
export type { EncodeOptions, StreamContent } from "./encode-stream.ts";
export { receiveStream } from "./receive-stream.ts";
export type { ReceiveOptions, ReceivePhase, ReceiveReport } from "./receiving.ts";
export { sendSnapshot } from "./send-snapshot.ts";
export type { SendOptions } from "./send-snapshot.ts";
export type { StreamEnd, StreamHeader, StreamItem, StreamSide } from "./stream-item.ts";
