export { applyIntent, inspectIntent } from "./apply.ts";
export { decodeIntent, encodeIntent } from "./codec.ts";
export type { EncodedIntent } from "./codec.ts";
export { copiedChecksum } from "./copied.ts";
export { fill } from "./fill.ts";
export { reversed } from "./header-patches.ts";
export * from "./intent.ts";
