import { resolvedPath } from "../../journal/index.ts";
import type { JournalReader } from "../../journal/index.ts";
import type { InternalRunOptions } from "../engine/index.ts";
import {
  type HistoryEntry,
  type HoldUndo,
  assertNothingSince,
  assertUndoable,
  holdUndoOf,
  imageIn,
  timeline,
  transactionToUndo,
  undoOf,
} from "../history/index.ts";
import { factsOf } from "../image/index.ts";
import type { SnapshotOperation } from "../plan/index.ts";

export interface PlannedHoldUndo extends HoldUndo {
  /** Resolved path. */
  readonly image: string;
  /** Number of the record that it undoes. */
  readonly undoes: number;
}

export interface PlannedUndo {
  /** Set where a hold or a release is undone: then there are no operations. */
  readonly hold?: PlannedHoldUndo;
  readonly operations: readonly SnapshotOperation[];
  /** Which transaction it undoes, and what each image has to show for it. */
  readonly options: Required<Pick<InternalRunOptions, "undoes" | "guards">>;
}

/**
 * What undoes a transaction, the last one by default, on all images that it
 * changed. `keep` names a snapshot of each disk as it is before it is reverted.
 * @throws QcowalError UNDO_IMPOSSIBLE, TRANSACTION_NOT_FOUND
 */
export async function planUndo(
  journal: JournalReader,
  image: string,
  wanted: number | undefined,
  keep: string | undefined,
): Promise<PlannedUndo> {
  const path = await resolvedPath(image);
  const entries = await newestFirst(journal, [path]);
  const entry = transactionToUndo(entries, path, wanted);
  const hold = holdUndoOf(entries, entry);
  if (hold !== undefined) {
    const undoes = entry.transaction;
    return { hold: { ...hold, image: path, undoes }, operations: [], options: { undoes, guards: [] } };
  }
  const find = imageIn(entries.toReversed(), path);
  const own = find(entry);
  // Another image of the transaction is where it was then; this one may have been moved.
  const undos = entry.images
    .filter(({ outcomes }) => outcomes.length > 0)
    .map((part) => undoOf(entry.transaction, part === own ? { ...part, image: path } : part));
  const paths = undos.map((undo) => undo.image);
  assertNothingSince(paths.length > 1 ? await newestFirst(journal, paths) : entries, entry);
  const byPath = new Map(undos.map((undo) => [undo.image, undo]));
  return {
    operations: undos
      .flatMap(({ operations }) => operations)
      .map((operation) =>
        operation.type === "revert" && keep !== undefined ? { ...operation, keep } : operation,
      ),
    options: {
      undoes: entry.transaction,
      guards: [
        {
          found: (seen) => {
            const undo = byPath.get(seen.disk.path);
            if (undo !== undefined) assertUndoable(entry.transaction, undo, factsOf(seen));
          },
        },
      ],
    },
  };
}

async function newestFirst(journal: JournalReader, paths: readonly string[]): Promise<HistoryEntry[]> {
  const entries: HistoryEntry[] = [];
  for await (const entry of timeline(journal, paths, { reverse: true })) entries.push(entry);
  return entries;
}
