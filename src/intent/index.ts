export { applyIntent } from "./apply.ts";
export { decodeIntent, encodeIntent } from "./codec.ts";
export type { EncodedIntent } from "./codec.ts";
export { copiedChecksum } from "./copied.ts";
export { fill } from "./fill.ts";
export { reversed } from "./header-patches.ts";
export { inspectIntent } from "./inspect.ts";
export type { ByteRange, Inspection } from "./inspection.ts";
export * from "./intent.ts";
