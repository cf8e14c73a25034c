export { invariant } from "./invariant.ts";
export { QcowalError, isQcowalError } from "./qcowal-error.ts";
export { isStorageFailure, reasonOf, withNothingChanged, withPath } from "./reason.ts";
export { throwIfAborted } from "./throw-if-aborted.ts";
export type { ErrorCode, ErrorDetails, QcowalErrorOptions } from "./qcowal-error.ts";
