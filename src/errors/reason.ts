import { type ErrorCode, QcowalError } from "./qcowal-error.ts";

/** The message of whatever was thrown, as a sentence of another message. */
export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return /[.!?)]$/.test(message) ? message : `${message}.`;
}

const NOTHING_CHANGED = "Nothing was changed";

/** Failures of files, which know nothing of the operation that they end. */
const STORAGE_CODES: readonly ErrorCode[] = ["IO_FAILED", "IO_FAILED_EARLIER", "NO_SPACE"];

export function isStorageFailure(error: unknown): boolean {
  return error instanceof QcowalError && STORAGE_CODES.includes(error.code);
}

/** The same failure under the name of the file that it is about, where its message does not have that yet. */
export function withPath(error: unknown, path: string): unknown {
  if (!(error instanceof QcowalError) || error.message.includes(path)) return error;
  // That is about the caller's signal, whose reason is the cause.
  if (error.code === "ABORTED") return error;
  return new QcowalError(error.code, `${path}: ${error.message}`, {
    cause: error,
    details: { ...error.details, path },
  });
}

/** The same failure, where it is known that it left everything as it was: whoever reads it must not have to guess. */
export function withNothingChanged(error: unknown): unknown {
  if (!(error instanceof QcowalError) || !isStorageFailure(error)) return error;
  if (error.message.includes(NOTHING_CHANGED)) return error;
  const { code, details } = error;
  return new QcowalError(code, `${reasonOf(error)} ${NOTHING_CHANGED}.`, { cause: error, details });
}
