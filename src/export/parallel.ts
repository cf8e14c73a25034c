/** Reads of one call: as many as libuv has threads, and as many again so that none waits. */
export const READS_AT_A_TIME = 8;

/**
 * Runs `work` on every item, at most `most` at a time; ends when all that began have ended.
 * Each of those has a lane of its own, from 0 on, so that what a lane uses can be used again.
 */
export async function inParallel<Item>(
  items: Iterable<Item> | AsyncIterable<Item>,
  most: number,
  work: (item: Item, lane: number) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let isOver = false;
  const run = async (lane: number): Promise<void> => {
    while (!isOver) {
      try {
        const next = await iterator.next();
        if (next.done === true) return;
        await work(next.value, lane);
      } catch (error) {
        isOver = true;
        throw error;
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: most }, (_, lane) => run(lane)));
  if (isOver) await iterator.return?.();
  for (const outcome of ended) if (outcome.status === "rejected") throw outcome.reason;
}
