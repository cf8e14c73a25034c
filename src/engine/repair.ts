/**
 * Repair of one fenced image whose journal is lost, by a scan of its tables. It
 * keeps whichever state the header shows. It may be killed at any moment and run
 * again: the fence goes last, and what is found is derived from the tables anew.
 */
import type { Journal } from "../../journal/index.ts";
import type { Disk } from "../disk/index.ts";
import { QcowalError, isQcowalError, throwIfAborted } from "../errors/index.ts";
import {
  type FenceOwner,
  bitmapsRemoval,
  fenceOwner,
  hasStaleBitmaps,
  unfencePatches,
} from "../format/index.ts";
import { type Image, type ImageHead, readHead, readImage } from "../image/index.ts";
import { type RepairPlan, type RepairSummary, planRepair } from "../plan/index.ts";
import type { Actor } from "./actor.ts";
import { applyParts, partsOf } from "./apply-phases.ts";
import { type RepairedBody, decodeBegun } from "./bodies.ts";
import type { EngineContext } from "./context.ts";
import { repairCommand } from "./fenced-error.ts";
import { applyPatches } from "./finish-header.ts";
import { identityOf } from "./identity.ts";
import { topicsOf } from "./topics.ts";
import type { Environment } from "./options.ts";
import { locate, recoverTransaction } from "./recover.ts";

/** On whose behalf an image is repaired. */
export interface Repairer {
  readonly actor: Actor;
  /** For the record. */
  readonly reason?: string;
  /** Scan only: say what would be done, write nothing. */
  readonly dryRun?: boolean;
  /** Calls the scan off. */
  readonly signal?: AbortSignal;
}

/** What a repair did, or would do. */
export interface RepairReport {
  /** Path of the image with links resolved. */
  readonly image: string;
  /** Who fenced it, where the header still says so. */
  readonly interrupted?: FenceOwner;
  readonly summary: RepairSummary;
  /** Directory of the journal that has a note of it; absent without a journal at hand, and in a dry run. */
  readonly recordedIn?: string;
}

function notFenced(path: string): QcowalError {
  return new QcowalError(
    "NOTHING_TO_REPAIR",
    `${path} is not fenced: no interrupted operation holds it. Nothing was changed; 'qcowal repair' without --without-journal mends other damage.`,
    { details: { path } },
  );
}

/**
 * Who fenced the image, undefined where its header does not say.
 * @throws QcowalError NOTHING_TO_REPAIR when nobody did
 */
export async function readFence(environment: Environment, path: string): Promise<FenceOwner | undefined> {
  const disk = await environment.openDisk(path, "read");
  try {
    const head = await readHead(disk, true);
    if (!head.header.fenced) throw notFenced(path);
    return fenceOwner(head.area);
  } finally {
    await disk.close();
  }
}

/** What a recovery refuses for good: asking it once more changes nothing. */
const LOST_CODES = ["FOREIGN_WRITE", "JOURNAL_DAMAGED", "NEEDS_RECOVERY"] as const;

/**
 * Refuses when the journal at hand can finish what fenced the image: a scan
 * only keeps what is there, and the other images of the transaction would not
 * follow.
 * @throws QcowalError NEEDS_RECOVERY, or what keeps recovery from judging (an image in use, or missing)
 */
export async function refuseRecoverable(
  context: EngineContext,
  path: string,
  owner: FenceOwner | undefined,
  by: Repairer,
): Promise<void> {
  for (const pending of context.journal.pending()) {
    const isOwner = context.journal.id === owner?.journalId && pending.transaction === owner.transaction;
    // Before `prepared` it has fenced nothing, whatever the image looks like.
    if ((owner !== undefined && !isOwner) || pending.state === "begun") continue;
    const begun = decodeBegun(pending.begun);
    const images = await locate(context, begun, [path]);
    if (!images.includes(path)) continue;
    try {
      await recoverTransaction(context, pending, begun, images, { actor: by.actor, dryRun: true });
    } catch (error) {
      if (LOST_CODES.some((code) => isQcowalError(error, code))) continue;
      throw error;
    }
    throw new QcowalError(
      "NEEDS_RECOVERY",
      `${path}: the journal ${context.journal.dir} is there and can finish or undo what was interrupted (transaction ${pending.transaction}). Nothing was changed; run 'qcowal recover' with it.`,
      { details: { path, journal: context.journal.dir, transaction: pending.transaction } },
    );
  }
}

/**
 * Repairs the image, whatever a journal says: see `refuseRecoverable` for that.
 * `journal`, if there is one, gets a note.
 * @throws QcowalError NOTHING_TO_REPAIR, IMAGE_DAMAGED, IMAGE_INVALID, IMAGE_IN_USE, IMAGE_NOT_FOUND, LIMIT_EXCEEDED, ABORTED, IO_FAILED
 */
export async function repairByScan(
  environment: Environment,
  path: string,
  by: Repairer,
  journal?: Journal,
): Promise<RepairReport> {
  const checkpoint = (): void =>
    throwIfAborted(by.signal, "The repair was called off. Nothing was changed, and the fence stays.");
  checkpoint();
  const disk = await environment.openDisk(path, by.dryRun === true ? "read" : "write");
  try {
    const head = await readHead(disk, true);
    if (!head.header.fenced) throw notFenced(disk.path);
    const interrupted = fenceOwner(head.area);
    const { image, plan } = await scan(disk, checkpoint);
    const report: RepairReport = {
      image: disk.path,
      ...(interrupted === undefined ? {} : { interrupted }),
      summary: plan.summary,
    };
    checkpoint();
    if (by.dryRun === true) return report;
    await carryOut(disk, image, plan);
    if (journal === undefined) return report;
    await record(environment, journal, report, head, by);
    return { ...report, recordedIn: journal.dir };
  } finally {
    await disk.close();
  }
}

/** Tables that break the format are refused like any other finding, in words that fit a fenced image. */
async function scan(
  disk: Disk,
  onTable: () => void,
): Promise<{ readonly image: Image; readonly plan: RepairPlan }> {
  try {
    const image = await readImage(disk, true);
    return { image, plan: await planRepair(image, { onTable }) };
  } catch (cause) {
    if (!isQcowalError(cause, "IMAGE_INVALID")) throw cause;
    throw new QcowalError(
      "IMAGE_DAMAGED",
      `${disk.path} shows what no interrupted operation leaves, the fence stays: ${cause.message}`,
      { cause, details: { path: disk.path, findings: [cause.message] } },
    );
  }
}

async function carryOut(disk: Disk, image: ImageHead, plan: RepairPlan): Promise<void> {
  // What the scan saw may not be on disk yet: a killed process leaves its last writes to the page cache. If power
  // failed then, a header from before the switch could come back over refcounts that were lowered for the one behind it.
  await disk.sync();
  await applyParts([disk], partsOf([plan]), () => undefined);
  const { explanation, mark } = unfencePatches(image.header, image.area, image.cluster);
  // The explanation first, and synced: were the mark to go alone, nobody could find the rest any more.
  if (explanation.length > 0) await applyPatches(disk, explanation);
  else await disk.sync();
  // An interrupted revert that drops bitmaps may have come as far as to disown them.
  const { header, area, cluster } = await readHead(disk);
  if (hasStaleBitmaps(header, area)) {
    for (const patch of bitmapsRemoval(area, cluster) ?? []) await applyPatches(disk, [patch]);
  }
  await applyPatches(disk, [mark]);
}

async function record(
  environment: Environment,
  journal: Journal,
  { image, interrupted, summary }: RepairReport,
  head: ImageHead,
  { actor, reason }: Repairer,
): Promise<void> {
  const body: RepairedBody = {
    type: "repaired",
    image: identityOf(image, await environment.fileId(image), head),
    actor,
    ...(reason === undefined ? {} : { reason }),
    ...(interrupted === undefined ? {} : { interrupted }),
    summary,
  };
  try {
    await journal.note(body, topicsOf({ kind: "note", body }));
  } catch (cause) {
    throw new QcowalError(
      "IO_FAILED",
      `${image} is repaired and free, but the journal ${journal.dir} could not take a note of it (not a reason for '${repairCommand(image)}' again).`,
      { cause },
    );
  }
}
