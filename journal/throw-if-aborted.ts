import { throwIfAborted as throwWith } from "../src/errors/index.ts";

/** @throws QcowalError ABORTED, with the signal's reason as its cause */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  throwWith(signal, `The ${what} was called off. Nothing was changed.`);
}
