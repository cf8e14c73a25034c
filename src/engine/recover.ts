import type { Journal, PendingTransaction } from "../../journal/index.ts";
import type { Disk } from "../disk/index.ts";
import { QcowalError, invariant, isQcowalError, throwIfAborted } from "../errors/index.ts";
import { readHead } from "../image/index.ts";
import type { OperationOutcome } from "../plan/index.ts";
import type { Actor } from "./actor.ts";
import { applyParts, syncAll } from "./apply-phases.ts";
import { type BegunBody, type EndBody, type PhasePart, decodeBegun, decodePrepared } from "./bodies.ts";
import { type EngineContext, closeAll, openAll } from "./context.ts";
import { tidyFence } from "./fence.ts";
import { fencedError } from "./fenced-error.ts";
import { finishHeader } from "./finish-header.ts";
import { giveBack } from "./give-back.ts";
import { type Judgement, judge, partsFromJournal } from "./judge.ts";
import type { RecoveryAction } from "./recovery-table.ts";
import type { RecoveredTransaction } from "./reports.ts";
import { unfinished } from "./unfinished.ts";

/** On whose behalf recovery runs. */
export interface Recoverer {
  readonly actor: Actor;
  /** For the record. */
  readonly reason?: string;
  /** Judge only: say what would be done, write nothing. */
  readonly dryRun?: boolean;
  /** Looked at between transactions. */
  readonly signal?: AbortSignal;
}

/**
 * Recovers every pending transaction that touches one of `paths`, in the order
 * in which they began. `onRecovered` hears of each at once: the next may throw.
 */
export async function recoverImages(
  context: EngineContext,
  paths: readonly string[],
  by: Recoverer,
  onRecovered: (transaction: RecoveredTransaction) => void,
): Promise<RecoveredTransaction[]> {
  return oneAtATime(context.journal, async () => {
    const recovered: RecoveredTransaction[] = [];
    for (const pending of context.journal.pending()) {
      const begun = decodeBegun(pending.begun);
      const images = await locate(context, begun, paths);
      if (images.some((path) => paths.includes(path))) {
        const transaction = await recoverTransaction(context, pending, begun, images, by);
        recovered.push(transaction);
        onRecovered(transaction);
      }
    }
    return recovered;
  });
}

const running = new WeakMap<Journal, Promise<unknown>>();

/**
 * Two operations on two images may both find the transaction that was
 * interrupted on both: the second waits, and finds nothing left to do.
 */
async function oneAtATime<Result>(journal: Journal, action: () => Promise<Result>): Promise<Result> {
  const turn = Promise.allSettled([running.get(journal)]).then(action);
  running.set(journal, turn);
  return turn;
}

/**
 * Recovers everything pending, or what is pending on `paths`. One transaction
 * that cannot be recovered does not hold up the others.
 * @throws QcowalError NEEDS_RECOVERY when one of `paths` is still fenced and nothing pending explains it; ABORTED
 */
export async function recoverPending(
  context: EngineContext,
  paths: readonly string[] | undefined,
  by: Recoverer,
): Promise<{ recovered: RecoveredTransaction[]; failed: { transaction: number; error: QcowalError }[] }> {
  const recovered: RecoveredTransaction[] = [];
  const failed: { transaction: number; error: QcowalError }[] = [];
  for (const pending of context.journal.pending()) {
    throwIfAborted(by.signal, calledOff(recovered.length));
    try {
      const begun = decodeBegun(pending.begun);
      const images = await locate(context, begun, paths ?? []);
      if (paths !== undefined && !images.some((path) => paths.includes(path))) continue;
      recovered.push(await recoverTransaction(context, pending, begun, images, by));
    } catch (error) {
      if (!isQcowalError(error)) throw error;
      failed.push({ transaction: pending.transaction, error });
    }
  }
  const explained = recovered.flatMap(({ images }) => images.map(({ image }) => image));
  if (failed.length === 0)
    await refuseFenced(context, paths?.filter((path) => !explained.includes(path)) ?? []);
  return { recovered, failed };
}

const calledOff = (recovered: number): string =>
  recovered === 0
    ? "The recovery was called off. Nothing was changed."
    : `The recovery was called off: ${recovered} transaction(s) were recovered, the rest is pending as before. Recover again to go on.`;

async function refuseFenced(
  { environment, journal }: EngineContext,
  paths: readonly string[],
): Promise<void> {
  for (const path of paths) {
    const disk = await environment.openDisk(path, "read");
    try {
      const head = await readHead(disk, true);
      if (head.header.fenced) throw await fencedError(path, head, journal);
    } finally {
      await disk.close();
    }
  }
}

/**
 * Where the images of a transaction are now: at their recorded path, or, when
 * nothing is there any more, at one of `paths` that is the same file.
 */
export async function locate(
  { environment }: EngineContext,
  begun: BegunBody,
  paths: readonly string[],
): Promise<string[]> {
  const found: string[] = [];
  for (const { path, device, inode } of begun.images) {
    found.push(path);
    if (await exists(environment.resolvePath(path))) continue;
    for (const candidate of paths) {
      const file = await environment.fileId(candidate);
      if (file.device === device && file.inode === inode) found[found.length - 1] = candidate;
    }
  }
  return found;
}

async function exists(resolved: Promise<string>): Promise<boolean> {
  try {
    await resolved;
    return true;
  } catch (error) {
    if (isQcowalError(error, "IMAGE_NOT_FOUND")) return false;
    throw error;
  }
}

/**
 * Finishes one transaction or proves that it never began, by the recovery
 * table. All images are judged before any is written. It may be killed anywhere
 * and run again: every step is absolute, and the record comes last.
 */
export async function recoverTransaction(
  context: EngineContext,
  pending: PendingTransaction,
  begun: BegunBody,
  paths: readonly string[],
  by: Recoverer,
): Promise<RecoveredTransaction> {
  const finished = pending.state === "committed";
  let imagesDone = false;
  try {
    const mode = by.dryRun === true ? "read" : "write";
    const { actions, doubts } = await withDisks(context, paths, mode, async (disks) => {
      const judgements: Judgement[] = [];
      for (const [index, disk] of disks.entries())
        judgements.push(await judge(context, pending, disk, index));
      const judged = {
        actions: judgements.map(({ action }) => action),
        doubts: judgements.flatMap(({ doubt }) => doubt ?? []),
      };
      if (by.dryRun !== true) {
        await carryOut(context, pending, disks, judged.actions);
        imagesDone = true;
        await recordEnd(context, pending, finished, by, judged.doubts);
      }
      return judged;
    });
    return {
      transaction: pending.transaction,
      result: finished ? "finished" : "aborted",
      ...(doubts.length === 0 ? {} : { doubt: doubts.join("; ") }),
      operations: begun.operations,
      images: paths.map((image, index) => ({
        image,
        action: actions[index] ?? "nothing",
        ...(finished ? { outcomes: outcomesOf(pending, index) } : {}),
      })),
    };
  } catch (error) {
    throw unfinished(context, pending, paths, imagesDone, error);
  }
}

function outcomesOf({ prepared }: PendingTransaction, index: number): readonly OperationOutcome[] {
  return prepared === undefined ? [] : (decodePrepared(prepared).images[index]?.outcomes ?? []);
}

/** Opens the images in the order in which locks are taken, and hands them over in the order of the transaction. */
async function withDisks<Result>(
  { environment }: EngineContext,
  paths: readonly string[],
  mode: "write" | "read",
  action: (disks: readonly Disk[]) => Promise<Result>,
): Promise<Result> {
  const order = paths.toSorted();
  const opened = await openAll(environment, order, mode);
  try {
    return await action(
      paths.map((path) => {
        const disk = opened[order.indexOf(path)];
        invariant(disk !== undefined, "an image of a pending transaction was not opened");
        return disk;
      }),
    );
  } finally {
    await closeAll(opened);
  }
}

async function recordEnd(
  { journal }: EngineContext,
  { transaction }: PendingTransaction,
  finished: boolean,
  { actor, reason }: Recoverer,
  doubts: readonly string[],
): Promise<void> {
  const end: EndBody = {
    recovered: true,
    actor,
    ...(reason === undefined ? {} : { reason }),
    ...(doubts.length === 0 ? {} : { doubt: doubts.join("; ") }),
  };
  if (finished) await journal.settle(transaction, end);
  else await journal.abort(transaction, { ...end, why: "interrupted before it was decided" });
}

async function carryOut(
  context: EngineContext,
  pending: PendingTransaction,
  disks: readonly Disk[],
  actions: readonly RecoveryAction[],
): Promise<void> {
  const prepared = pending.prepared === undefined ? undefined : decodePrepared(pending.prepared);
  // Before `prepared` was complete nothing was written anywhere.
  if (prepared === undefined) return;
  const replayed = (image: number): boolean => actions[image] === "replay";
  if (actions.includes("replay")) {
    await applyParts(disks, only(partsFromJournal(context, pending.transaction), replayed), () => undefined);
  }
  for (const [index, disk] of disks.entries()) {
    const image = prepared.images[index];
    invariant(image !== undefined, "a prepared record names fewer images than its transaction");
    if (actions[index] === "give-back") await giveBack(disk, image);
    else if (replayed(index)) await finishHeader(disk, image);
    else await tidyFence(disk, image.fence);
  }
  // Also what is not written to here: the killed process may have removed the fence without a sync. If power
  // fails after the end is recorded, a fence that came back would belong to a transaction that is over.
  await syncAll(new Set(disks));
}

async function* only(
  parts: AsyncIterable<PhasePart>,
  wanted: (image: number) => boolean,
): AsyncGenerator<PhasePart> {
  for await (const part of parts) if (wanted(part.image)) yield part;
}
