import type { PendingTransaction } from "../../journal/index.ts";
import type { Disk } from "../disk/index.ts";
import { inspectIntent } from "../intent/index.ts";
import type { PhasePart } from "./bodies.ts";

/**
 * The fence goes last, so an image without one is taken to be as the journal
 * says. One whose header shows the other side of the switch was most likely
 * repaired by a scan while this journal was lost: that is for the record, and
 * no reason to write. Returns it in words.
 */
export async function doubtOf(
  pending: PendingTransaction,
  disk: Disk,
  index: number,
  parts: AsyncIterable<PhasePart>,
): Promise<string | undefined> {
  if (pending.state === "begun") return undefined;
  const expected = pending.state === "committed" ? "after" : "before";
  for await (const { phase, image, intents } of parts) {
    if (image !== index || phase !== "switch") continue;
    for (const intent of intents) {
      const inspection = await inspectIntent(disk, intent);
      // An end that is recorded unseen could not be doubted any more.
      if (inspection.state === "unreadable") throw inspection.cause;
      const { state } = inspection;
      if (state === expected || (state !== "before" && state !== "after")) continue;
      return `${disk.path} carries no fence and its header is as ${state} the transaction: it was repaired by a scan, restored from a copy, or changed since`;
    }
  }
  return undefined;
}
