import { throwIfAborted } from "../errors/index.ts";

/** @throws QcowalError ABORTED */
export const assertNotCalledOff = (signal: AbortSignal | undefined): void =>
  throwIfAborted(signal, "Serving was called off before it began. Nothing was changed.");

/**
 * The `close()` of what has been opened: `shutDown` runs once, whoever asks for it
 * and however often, a raised signal too. Of its failure hears who calls `close()`.
 * @throws QcowalError ABORTED when the signal was raised meanwhile: then it is shut down already
 */
export async function closable(
  signal: AbortSignal | undefined,
  shutDown: () => Promise<void>,
): Promise<() => Promise<void>> {
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    signal?.removeEventListener("abort", onAbort);
    return (closing ??= shutDown());
  };
  const onAbort = (): void => void close().catch(() => undefined);
  try {
    assertNotCalledOff(signal);
  } catch (error) {
    await close();
    throw error;
  }
  signal?.addEventListener("abort", onAbort);
  return close;
}
