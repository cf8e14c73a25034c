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
  intents: readonly Intent[],
  checkpoint: () => void = () => undefined,
): Promise<void> {
  const turns = new Map<number, Intent[]>();
  for (const intent of intents) {
    const position = positionOf(intent);
    const others = turns.get(position);
    if (others === undefined) turns.set(position, [intent]);
    else others.push(intent);
  }
  const waiting = turns.values();
  let failed = false;
  const lane = async (): Promise<void> => {
    // One iterator for all lanes: each takes the next turn that no other has.
    for (const turn of waiting) {
      for (const intent of turn) {
        if (failed) return;
        checkpoint();
        await applyIntent(disk, intent);
      }
    }
  };
  const lanes = Array.from({ length: Math.min(LANES, turns.size) }, async () => {
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
