import type { Journal, PendingTransaction } from "../../journal/index.ts";
import type { Disk } from "../disk/index.ts";
import { QcowalError, invariant, isQcowalError } from "../errors/index.ts";
import { type ImageHead, readHead } from "../image/index.ts";
import { inspectIntent } from "../intent/index.ts";
import type { Actor } from "./actor.ts";
import { applyParts, inspectParts, syncAll } from "./apply-phases.ts";
import {
  type BegunBody,
  type EndBody,
  type PhasePart,
  decodeBegun,
  decodePart,
  decodePrepared,
} from "./bodies.ts";
import { type EngineContext, closeAll, openAll, ownerOf } from "./context.ts";
import { fenceState, tidyFence, unfence } from "./fence.ts";
import { fencedError, repairCommand } from "./fenced-error.ts";
import { giveBack } from "./give-back.ts";
import { type RecoveryAction, recoveryAction } from "./recovery-table.ts";
import type { RecoveredTransaction } from "./reports.ts";

/** On whose behalf recovery runs. */
export interface Recoverer {
  readonly actor: Actor;
  /** For the record. */
  readonly reason?: string;
  /** Judge only: say what would be done, write nothing. */
  readonly dryRun?: boolean;
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
 * @throws QcowalError NEEDS_RECOVERY when one of `paths` is still fenced and nothing pending explains it
 */
export async function recoverPending(
  context: EngineContext,
  paths: readonly string[] | undefined,
  by: Recoverer,
): Promise<{ recovered: RecoveredTransaction[]; failed: { transaction: number; error: QcowalError }[] }> {
  const recovered: RecoveredTransaction[] = [];
  const failed: { transaction: number; error: QcowalError }[] = [];
  for (const pending of context.journal.pending()) {
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

async function refuseFenced(
  { environment, journal }: EngineContext,
  paths: readonly string[],
): Promise<void> {
  for (const path of paths) {
    const disk = await environment.openDisk(path, "read");
    try {
      const head = await readHead(disk);
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
  const order = paths.toSorted();
  const opened = await openAll(context.environment, order, by.dryRun === true ? "read" : "write");
  try {
    const disks = paths.map((path) => {
      const disk = opened[order.indexOf(path)];
      invariant(disk !== undefined, "an image of a pending transaction was not opened");
      return disk;
    });
    const judgements: Judgement[] = [];
    for (const [index, disk] of disks.entries()) judgements.push(await judge(context, pending, disk, index));
    const actions = judgements.map(({ action }) => action);
    const doubts = judgements.flatMap(({ doubt }) => doubt ?? []);
    const finished = pending.state === "committed";
    if (by.dryRun !== true) {
      await carryOut(context, pending, disks, actions);
      await recordEnd(context, pending, finished, by, doubts);
    }
    return {
      transaction: pending.transaction,
      result: finished ? "finished" : "aborted",
      ...(doubts.length === 0 ? {} : { doubt: doubts.join("; ") }),
      operations: begun.operations,
      images: disks.map(({ path }, index) => ({ image: path, action: actions[index] ?? "nothing" })),
    };
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

async function* partsFromJournal({ journal }: EngineContext, transaction: number): AsyncGenerator<PhasePart> {
  for await (const body of journal.parts(transaction)) yield decodePart(body);
}

/** What recovery will do with one image. */
interface Judgement {
  readonly action: RecoveryAction;
  /** Set when the image contradicts the end that will be recorded. */
  readonly doubt?: string;
}

/** Looks the image up in the recovery table; throws for what must not be touched. */
async function judge(
  context: EngineContext,
  pending: PendingTransaction,
  disk: Disk,
  index: number,
): Promise<Judgement> {
  const head = await readHeadOf(disk);
  const fence = fenceState(head, ownerOf(context.journal, pending.transaction));
  const committed = pending.state === "committed";
  const inspected =
    fence === "present"
      ? await inspectParts(disk, index, partsFromJournal(context, pending.transaction), committed)
      : { state: "before" as const, where: "" };
  const action = recoveryAction(pending.state, fence, inspected.state);
  if (action === "refuse") throw await fencedError(disk.path, head, context.journal);
  if (action === "stop") {
    const what =
      inspected.state === "foreign"
        ? `${inspected.where} holds bytes that this transaction neither found nor wrote`
        : "the image is past the decision, but the journal has lost its record of that";
    throw new QcowalError(
      "FOREIGN_WRITE",
      `${disk.path}: transaction ${pending.transaction} of the journal ${context.journal.dir} does not fit: ${what}. Recovery stopped before writing, the fence stays; use a newer copy of the journal, or run: ${repairCommand(disk.path)}.`,
      { details: { path: disk.path, transaction: pending.transaction, where: inspected.where } },
    );
  }
  const doubt = fence === "absent" ? await doubtOf(context, pending, disk, index) : undefined;
  return { action, ...(doubt === undefined ? {} : { doubt }) };
}

/**
 * The fence goes last, so an image without one is taken to be as the journal
 * says. One whose header shows the other side of the switch was most likely
 * repaired by a scan while this journal was lost: that is for the record, and
 * no reason to write.
 */
async function doubtOf(
  context: EngineContext,
  pending: PendingTransaction,
  disk: Disk,
  index: number,
): Promise<string | undefined> {
  if (pending.state === "begun") return undefined;
  const expected = pending.state === "committed" ? "after" : "before";
  for await (const { phase, image, intents } of partsFromJournal(context, pending.transaction)) {
    if (image !== index || phase !== "switch") continue;
    for (const intent of intents) {
      const state = await inspectIntent(disk, intent);
      if (state === expected || (state !== "before" && state !== "after")) continue;
      return `${disk.path} carries no fence and its header is as ${state} the transaction: it was repaired by a scan, restored from a copy, or changed since`;
    }
  }
  return undefined;
}

/** A header that does not decode is as foreign as any other bytes. */
async function readHeadOf(disk: Disk): Promise<ImageHead> {
  try {
    return await readHead(disk);
  } catch (cause) {
    if (!isQcowalError(cause)) throw cause;
    throw new QcowalError(
      "FOREIGN_WRITE",
      `${disk.path}: the header of an interrupted image cannot be read: ${cause.message} Recovery stopped before writing.`,
      { cause },
    );
  }
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
  const written = new Set<Disk>();
  for (const [index, disk] of disks.entries()) {
    const image = prepared.images[index];
    invariant(image !== undefined, "a prepared record names fewer images than its transaction");
    if (actions[index] === "give-back") await giveBack(disk, image);
    else if (replayed(index)) {
      await unfence(disk, image.fence);
      written.add(disk);
    } else if (await tidyFence(disk, image.fence)) written.add(disk);
  }
  await syncAll(written);
}

async function* only(
  parts: AsyncIterable<PhasePart>,
  wanted: (image: number) => boolean,
): AsyncGenerator<PhasePart> {
  for await (const part of parts) if (wanted(part.image)) yield part;
}
