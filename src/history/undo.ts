/**
 * What takes a transaction back, from the record alone: its outcomes say what was
 * there before. Whether that can still be done, the image says when it is open.
 */
import { QcowalError } from "../errors/index.ts";
import type { SnapshotFacts } from "../image/index.ts";
import {
  type ReceiveOutcome,
  type SnapshotOperation,
  type SnapshotOutcome,
  parseDeletedName,
} from "../plan/index.ts";
import type { HistoryEntry, HistoryImage } from "./entry.ts";

/** What an image has to show for an undo, and what is to be done with it. */
export interface ImageUndo {
  readonly image: string;
  /** Snapshots that have to be there, under the names that the transaction left. */
  readonly needs: readonly SnapshotFacts[];
  /** Names that a snapshot gets back, by its id. */
  readonly names: ReadonlyMap<string, string>;
  readonly operations: readonly SnapshotOperation[];
}

/** @throws the error that says why it cannot be undone */
export function undoImpossible(transaction: number, why: string): QcowalError {
  return new QcowalError(
    "UNDO_IMPOSSIBLE",
    `Transaction ${transaction} cannot be undone: ${why}. Nothing was changed.`,
    { details: { transaction } },
  );
}

const isDone = ({ status, hold }: HistoryEntry): boolean =>
  status === "done" || status === "finished by recovery" || hold !== undefined;

const hasOutcomes = ({ images }: HistoryEntry): boolean => images.some(({ outcomes }) => outcomes.length > 0);

const hasEffect = (entry: HistoryEntry): boolean =>
  isDone(entry) && (hasOutcomes(entry) || entry.hold !== undefined);

/** Which transactions an undo has taken back, with its number. An undo that was undone took nothing back. */
export function undone(newestFirst: readonly HistoryEntry[]): ReadonlyMap<number, number> {
  const by = new Map<number, number>();
  for (const entry of newestFirst) {
    if (entry.undoes !== undefined && isDone(entry) && !by.has(entry.transaction)) {
      by.set(entry.undoes, entry.transaction);
    }
  }
  return by;
}

/**
 * The transaction that is to be undone: the one that is asked for, or the last
 * that is neither an undo nor undone. `newestFirst` is the timeline of an image.
 * @throws QcowalError UNDO_IMPOSSIBLE, TRANSACTION_NOT_FOUND, NEEDS_RECOVERY
 */
export function transactionToUndo(
  newestFirst: readonly HistoryEntry[],
  image: string,
  wanted: number | undefined,
): HistoryEntry {
  assertNothingPending(newestFirst, image, wanted);
  const by = undone(newestFirst);
  const found = newestFirst.find((entry) =>
    wanted === undefined
      ? hasEffect(entry) && entry.undoes === undefined && !by.has(entry.transaction)
      : entry.transaction === wanted,
  );
  if (found === undefined) {
    throw wanted === undefined
      ? new QcowalError(
          "UNDO_IMPOSSIBLE",
          `The record has nothing of ${image} that could be undone. Nothing was changed.`,
        )
      : new QcowalError(
          "TRANSACTION_NOT_FOUND",
          `The record of ${image} has no transaction ${wanted}. Nothing was changed; 'qcowal history' shows which there are.`,
        );
  }
  const { transaction, status } = found;
  if (!hasEffect(found)) {
    throw undoImpossible(transaction, `it changed nothing that is known (its status is "${status}")`);
  }
  const undoing = by.get(transaction);
  if (undoing !== undefined)
    throw undoImpossible(transaction, `transaction ${undoing} has undone it already`);
  return found;
}

/** Whether what was interrupted last is to be undone, only its recovery tells. */
function assertNothingPending(
  newestFirst: readonly HistoryEntry[],
  image: string,
  wanted: number | undefined,
): void {
  const pending = newestFirst.find(({ status }) => status === "pending");
  if (pending === undefined || (wanted !== undefined && wanted !== pending.transaction)) return;
  throw new QcowalError(
    "NEEDS_RECOVERY",
    `${image}: transaction ${pending.transaction} was interrupted. Nothing was changed; 'qcowal recover' finishes it or proves that it never began.`,
    { details: { path: image, transaction: pending.transaction } },
  );
}

/** What takes back a hold, or the release of one. */
export interface HoldUndo {
  readonly verb: "hold" | "release";
  readonly snapshot: SnapshotFacts;
  readonly tag: string;
  /** Why it was held, where it is held again. */
  readonly reason?: string;
}

/**
 * Undefined for an entry that is neither of them.
 * @throws QcowalError UNDO_IMPOSSIBLE
 */
export function holdUndoOf(
  newestFirst: readonly HistoryEntry[],
  { transaction, status, hold }: HistoryEntry,
): HoldUndo | undefined {
  if (hold === undefined) return undefined;
  const { snapshot, tag } = hold;
  const before = newestFirst.find(
    (entry) =>
      entry.transaction < transaction &&
      entry.hold?.tag === tag &&
      entry.hold.snapshot.id === snapshot.id &&
      entry.hold.snapshot.dateSec === snapshot.dateSec &&
      entry.hold.snapshot.dateNsec === snapshot.dateNsec,
  );
  if (status === "released") {
    const reason = before?.reason;
    return { verb: "hold", snapshot, tag, ...(reason === undefined ? {} : { reason }) };
  }
  if (before?.status === "held") {
    throw undoImpossible(transaction, `the snapshot was held as ${tag} before it already`);
  }
  return { verb: "release", snapshot, tag };
}

/** What came later and stands in the way: the disk is another one since. */
export function assertNothingSince(
  newestFirst: readonly HistoryEntry[],
  { transaction, images }: HistoryEntry,
): void {
  if (!images.some(({ outcomes }) => outcomes.some(({ type }) => type === "revert"))) return;
  const by = undone(newestFirst);
  const since = newestFirst.findLast(
    (entry) =>
      entry.transaction > transaction &&
      isDone(entry) &&
      hasOutcomes(entry) &&
      entry.undoes === undefined &&
      !by.has(entry.transaction),
  );
  if (since !== undefined) {
    throw undoImpossible(
      transaction,
      `it reverted the disk, and transaction ${since.transaction} came after it; undo that first`,
    );
  }
}

/** A snapshot that the transaction worked on, as it goes through it. */
interface Touched {
  readonly first: SnapshotFacts;
  readonly isNew: boolean;
  name: string;
}

/** @throws QcowalError UNDO_IMPOSSIBLE */
export function undoOf(transaction: number, { image, outcomes }: HistoryImage): ImageUndo {
  const touched = new Map<string, Touched>();
  /** The snapshot that has the disk as it was before. */
  let start: string | undefined;
  let isReverted = false;
  for (const outcome of outcomes) {
    if (outcome.type === "repair") throw undoImpossible(transaction, "it repaired the image");
    if (outcome.type === "receive") throw undoImpossible(transaction, whyReceived(outcome));
    const { id } = outcome.snapshot;
    switch (outcome.type) {
      case "create":
        touched.set(id, { first: outcome.snapshot, isNew: true, name: outcome.snapshot.name });
        if (!isReverted) start = id;
        break;
      case "revert":
        assertCanRevert(transaction, outcome, isReverted || start !== undefined);
        isReverted = true;
        break;
      case "rename":
      case "delete":
        change(transaction, touched, outcome);
    }
  }
  if (isReverted && (start === undefined || !touched.has(start))) {
    throw undoImpossible(
      transaction,
      "the state of the disk before its revert was not kept ('revert --keep')",
    );
  }
  const left = [...touched];
  const news = left.filter(([, { isNew }]) => isNew).map(([id]) => id);
  const olds = left.filter(([, { isNew, first, name }]) => !isNew && name !== first.name);
  return {
    image,
    needs: left.map(([, { first, name }]) => ({ ...first, name })),
    names: new Map(olds.map(([id, { first }]) => [id, first.name])),
    operations: [
      ...(isReverted && start !== undefined ? [{ type: "revert", image, id: start } as const] : []),
      ...news.map((id) => ({ type: "delete", image, id }) as const),
      // Two that changed their names have the same one for a moment.
      ...olds.map(([id, { first }]) => ({ type: "rename", image, id, to: first.name, force: true }) as const),
    ],
  };
}

const whyReceived = ({ from }: ReceiveOutcome): string =>
  from === null
    ? "it made the image of a stream, and there was none before"
    : from.snapshot === null
      ? "it received a stream, and of what the disk held before no snapshot is known"
      : `it received a stream, which keeps nothing of what the disk held before; if the image has a snapshot of that (it was called ${JSON.stringify(from.snapshot.name)} where it was sent), revert to it`;

function assertCanRevert(
  transaction: number,
  { droppedBitmaps = [] }: SnapshotOutcome,
  isKept: boolean,
): void {
  if (!isKept) {
    throw undoImpossible(
      transaction,
      "the state of the disk before its revert was not kept ('revert --keep')",
    );
  }
  if (droppedBitmaps.length > 0) {
    throw undoImpossible(
      transaction,
      `its revert dropped ${droppedBitmaps.length} persistent bitmap(s), which nothing brings back; revert to the snapshot that it kept instead`,
    );
  }
}

function change(
  transaction: number,
  touched: Map<string, Touched>,
  { type, snapshot, to }: SnapshotOutcome,
): void {
  const known = touched.get(snapshot.id);
  if (to !== undefined) {
    touched.set(snapshot.id, { first: known?.first ?? snapshot, isNew: known?.isNew ?? false, name: to });
    return;
  }
  if (type !== "delete") return;
  if (known?.isNew !== true) {
    throw undoImpossible(
      transaction,
      `it deleted the snapshot ${JSON.stringify(snapshot.name)} for good ('delete --recoverable' keeps one for a while)`,
    );
  }
  touched.delete(snapshot.id);
}

/**
 * Compares what an undo needs with the snapshots that the image has.
 * @throws QcowalError UNDO_IMPOSSIBLE
 */
export function assertUndoable(
  transaction: number,
  { image, needs, names }: ImageUndo,
  snapshots: readonly SnapshotFacts[],
): void {
  for (const { id, name, dateSec, dateNsec } of needs) {
    const found = snapshots.find((snapshot) => snapshot.id === id);
    const isIt =
      found?.name === name &&
      (dateSec === undefined || (found.dateSec === dateSec && found.dateNsec === dateNsec));
    if (isIt) continue;
    const shown = JSON.stringify(parseDeletedName(name)?.name ?? name);
    throw undoImpossible(
      transaction,
      `${image} no longer has the snapshot ${shown} (id ${id}) as it left it`,
    );
  }
  for (const name of names.values()) {
    const other = snapshots.find((snapshot) => snapshot.name === name && !names.has(snapshot.id));
    if (other === undefined) continue;
    throw undoImpossible(
      transaction,
      `${image} has another snapshot ${JSON.stringify(name)} by now (id ${other.id}); rename that first`,
    );
  }
}
