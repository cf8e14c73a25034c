import type { PendingTransaction } from "../../journal/index.ts";
import type { Disk } from "../disk/index.ts";
import { type ErrorCode, type ErrorDetails, QcowalError, isQcowalError, reasonOf } from "../errors/index.ts";
import { HEADER, SECTOR_SIZE } from "../format/index.ts";
import { type ImageHead, readHead } from "../image/index.ts";
import type { Intent } from "../intent/index.ts";
import { type PhasePart, decodePart } from "./bodies.ts";
import { type EngineContext, ownerOf } from "./context.ts";
import { doubtOf } from "./doubt.ts";
import { fenceState } from "./fence.ts";
import { fencedError, repairCommand } from "./fenced-error.ts";
import {
  type Finding,
  type InspectedImage,
  findingDetails,
  findingText,
  inspectParts,
  rangeText,
} from "./inspect-parts.ts";
import { type RecoveryAction, recoveryAction } from "./recovery-table.ts";

export async function* partsFromJournal(
  { journal }: EngineContext,
  transaction: number,
): AsyncGenerator<PhasePart> {
  for await (const body of journal.parts(transaction)) yield decodePart(body);
}

/** What recovery will do with one image. */
export interface Judgement {
  readonly action: RecoveryAction;
  /** Set when the image contradicts the end that will be recorded. */
  readonly doubt?: string;
}

/**
 * Looks an image of a pending transaction up in the recovery table.
 * @throws QcowalError for what must not be touched: FOREIGN_WRITE with the byte
 * range in its details, NEEDS_RECOVERY when it cannot be read or has another owner
 */
export async function judge(
  context: EngineContext,
  pending: PendingTransaction,
  disk: Disk,
  index: number,
): Promise<Judgement> {
  const head = await readHeadOf(context, pending, disk, index);
  const fence = fenceState(head, ownerOf(context.journal, pending.transaction));
  const committed = pending.state === "committed";
  const inspected: InspectedImage =
    fence === "present"
      ? await inspectParts(disk, index, partsFromJournal(context, pending.transaction), committed)
      : { state: "before", finding: undefined };
  const action = recoveryAction(pending.state, fence, inspected.state);
  if (action === "refuse") throw await fencedError(disk.path, head, context.journal);
  if (action === "stop") {
    throw inspected.finding === undefined
      ? stopped(context, pending, disk, "FOREIGN_WRITE", {
          what: "the image is past the decision, but the journal has lost its record of that.",
          next: `Use a newer copy of the journal, or run: ${repairCommand(disk.path)}.`,
        })
      : contradiction(context, pending, disk, inspected.finding);
  }
  const doubt =
    fence === "absent"
      ? await doubtOf(pending, disk, index, partsFromJournal(context, pending.transaction))
      : undefined;
  return { action, ...(doubt === undefined ? {} : { doubt }) };
}

function contradiction(
  context: EngineContext,
  pending: PendingTransaction,
  disk: Disk,
  finding: Finding,
  why = "",
): QcowalError {
  const { unreadable } = finding;
  return stopped(context, pending, disk, unreadable === undefined ? "FOREIGN_WRITE" : "NEEDS_RECOVERY", {
    what: findingText(finding) + why,
    next:
      unreadable === undefined
        ? `Put these bytes back as they were and run 'qcowal recover' again, or run: ${repairCommand(disk.path)}.`
        : "Run 'qcowal recover' again when they can be read.",
    cause: unreadable,
    details: findingDetails(finding),
  });
}

interface Stop {
  readonly what: string;
  readonly next: string;
  readonly cause?: unknown;
  readonly details?: ErrorDetails;
}

function stopped(
  { journal }: EngineContext,
  { transaction }: PendingTransaction,
  { path }: Disk,
  code: ErrorCode,
  { what, next, cause, details }: Stop,
): QcowalError {
  return new QcowalError(
    code,
    `${path}: ${what} Recovery of transaction ${transaction} (journal ${journal.dir}) stopped before its first write, the fence stays. ${next}`,
    { cause, details: { path, journal: journal.dir, transaction, ...details } },
  );
}

/**
 * A header that does not decode is as foreign as any other bytes. The intents
 * know which of its bytes were changed, as long as it was one of theirs.
 */
async function readHeadOf(
  context: EngineContext,
  pending: PendingTransaction,
  disk: Disk,
  index: number,
): Promise<ImageHead> {
  try {
    return await readHead(disk);
  } catch (cause) {
    if (!isQcowalError(cause)) throw cause;
    const range = { offset: 0, length: SECTOR_SIZE };
    if (isQcowalError(cause, "IO_FAILED")) {
      throw stopped(context, pending, disk, "NEEDS_RECOVERY", {
        what: `the header cannot be read: ${reasonOf(cause)}`,
        next: "Run 'qcowal recover' again when it can be read.",
        cause,
        details: range,
      });
    }
    const { finding } = await inspectParts(disk, index, headerParts(context, pending), false);
    if (finding !== undefined) {
      throw contradiction(context, pending, disk, finding, ` (${reasonOf(cause)})`);
    }
    const rescued = await rescuedHead(context, pending, disk, index);
    if (rescued !== undefined) return rescued;
    throw stopped(context, pending, disk, "FOREIGN_WRITE", {
      what: `${rangeText(range)} (the header) are not those of an image: ${reasonOf(cause)}`,
      next: `Put the header back as it was and run 'qcowal recover' again, or run: ${repairCommand(disk.path)}.`,
      cause,
      details: range,
    });
  }
}

/** A header that a repair began with, and has not switched yet: the intent that was to mend it found it so. */
async function rescuedHead(
  context: EngineContext,
  pending: PendingTransaction,
  disk: Disk,
  index: number,
): Promise<ImageHead | undefined> {
  let isCovered = false;
  for await (const { image, phase, intents } of headerParts(context, pending)) {
    if (image === index && phase === "switch" && [...intents].some(coversTables)) isCovered = true;
  }
  if (!isCovered) return undefined;
  return readHead(disk, true).catch((error: unknown) => {
    if (isQcowalError(error, "IO_FAILED")) throw error;
    return undefined;
  });
}

/** Any other byte of these fields would have been found foreign. */
function coversTables(intent: Intent): boolean {
  if (intent.kind !== "header") return false;
  const { refcountTableOffset, snapshotsOffset } = HEADER;
  return intent.patches.some(
    ({ offset, after }) =>
      offset <= refcountTableOffset.offset &&
      offset + after.length >= snapshotsOffset.offset + snapshotsOffset.size,
  );
}

async function* headerParts(
  context: EngineContext,
  { transaction }: PendingTransaction,
): AsyncGenerator<PhasePart> {
  for await (const part of partsFromJournal(context, transaction)) {
    yield { ...part, intents: [...part.intents].filter(({ kind }) => kind === "header") };
  }
}
