/**
 * Runs an action that Ctrl-C or SIGTERM may call off before it is decided. The
 * second signal kills at once, which costs nothing but a recovery.
 */
export async function interruptible<Result>(
  action: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  const abort = (signal: NodeJS.Signals): void => {
    controller.abort(signal);
    stopListening();
  };
  const stopListening = (): void => {
    process.off("SIGINT", abort);
    process.off("SIGTERM", abort);
  };
  process.on("SIGINT", abort);
  process.on("SIGTERM", abort);
  try {
    return await action(controller.signal);
  } finally {
    stopListening();
  }
}
