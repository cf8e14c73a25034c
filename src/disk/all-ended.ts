/** Waits for all of them, whether or not one fails: what throws the first failure leaves nothing under way. */
export async function allEnded(begun: readonly Promise<unknown>[]): Promise<void> {
  const [failure] = (await Promise.allSettled(begun)).filter((result) => result.status === "rejected");
  if (failure !== undefined) throw failure.reason;
}
