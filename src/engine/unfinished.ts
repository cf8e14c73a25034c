import type { PendingTransaction } from "../../journal/index.ts";
import { QcowalError, isQcowalError, isStorageFailure, reasonOf } from "../errors/index.ts";
import type { EngineContext } from "./context.ts";

/**
 * The error of a recovery that did not come to its end. A failure knows its file
 * only: what it means for the images, and that trying again is safe, is known
 * here. `imagesDone` when nothing but the record is missing.
 */
export function unfinished(
  { journal }: EngineContext,
  { transaction }: PendingTransaction,
  paths: readonly string[],
  imagesDone: boolean,
  cause: unknown,
): unknown {
  // What `judge` throws says all this itself.
  if (!isQcowalError(cause) || cause.code === "FOREIGN_WRITE" || cause.code === "NEEDS_RECOVERY")
    return cause;
  const what = `${paths.join(", ")}: recovery of transaction ${transaction} (journal ${journal.dir})`;
  const message = imagesDone
    ? `${what} is done and nothing is fenced, but the journal could not record its end: ${reasonOf(cause)} 'qcowal recover' records it.`
    : `${what} did not finish: ${reasonOf(cause)} What was fenced stays fenced; 'qcowal recover' can be run again.`;
  return new QcowalError(isStorageFailure(cause) ? "NEEDS_RECOVERY" : cause.code, message, {
    cause,
    details: { path: paths[0], ...cause.details, journal: journal.dir, transaction },
  });
}
