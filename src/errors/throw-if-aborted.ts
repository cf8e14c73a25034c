import { QcowalError } from "./qcowal-error.ts";

/**
 * `message` says what was called off, and what has become of it.
 * @throws QcowalError ABORTED, with the signal's reason as its cause
 */
export function throwIfAborted(signal: AbortSignal | undefined, message: string): void {
  if (signal?.aborted !== true) return;
  throw new QcowalError("ABORTED", message, { cause: signal.reason });
}
