import { QcowalError } from "../src/errors/index.ts";

/** @throws QcowalError ABORTED, with the signal's reason as its cause */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted !== true) return;
  throw new QcowalError("ABORTED", `The ${what} was called off. Nothing was changed.`, {
    cause: signal.reason,
  });
}
