import type { Disk } from "../disk/index.ts";
import { type Intent, applyIntent, positionOf } from "../intent/index.ts";

/** Intents under way at a time: while one waits for the disk, others compute. */
const LANES = 8;

/**
 * Applies intents of one phase, in any order and several at a time: nothing
 * between two syncs depends on what was written first. Only those of the same
 * table or block take turns, because each reads the sectors that it changes.
 * After a failure none is begun, and it is thrown when no write is under way any more.
 */
export async function applyIntents(
  disk: Disk,
  intents: Iterable<Intent>,
  checkpoint: () => void = () => undefined,
): Promise<void> {
  const waiting = intents[Symbol.iterator]();
  /** The last turn of each table or block that has one. */
  const turns = new Map<number, Promise<void>>();
  let failed = false;
  const apply = async (intent: Intent): Promise<void> => {
    if (failed) return;
    checkpoint();
    await applyIntent(disk, intent);
  };
  const lane = async (): Promise<void> => {
    // One iterator for all lanes: each takes the next intent that no other has.
    for (;;) {
      const next = waiting.next();
      if (next.done === true || failed) return;
      const intent = next.value;
      const position = positionOf(intent);
      // Whoever has the turn before has begun, and waits for none that began later.
      const turn = (turns.get(position) ?? Promise.resolve()).then(() => apply(intent));
      turns.set(position, turn);
      await turn;
      if (turns.get(position) === turn) turns.delete(position);
    }
  };
  const lanes = Array.from({ length: LANES }, async () => {
    try {
      await lane();
    } catch (error) {
      failed = true;
      throw error;
    }
  });
  const [failure] = (await Promise.allSettled(lanes)).filter((result) => result.status === "rejected");
  if (failure !== undefined) throw failure.reason;
}
