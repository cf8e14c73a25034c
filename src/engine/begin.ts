import type { Disk } from "../disk/index.ts";
import { invariant, isQcowalError, withNothingChanged } from "../errors/index.ts";
import type { Actor } from "./actor.ts";
import type { BegunBody, BegunImage, RefusedBody } from "./bodies.ts";
import type { EngineContext } from "./context.ts";
import type { PlannedImage } from "./guard.ts";
import { identityOf } from "./identity.ts";
import { tableDigest } from "./observation.ts";
import { observe } from "./observe.ts";
import type { FileId, InternalRunOptions } from "./options.ts";
import { type OperationsByImage, judged, planAll } from "./planned-images.ts";
import type { Progress } from "./progress.ts";
import { topicsOf } from "./topics.ts";
import { Transaction } from "./transaction.ts";

/** Who asks for a transaction, when, and how. */
export interface Beginning {
  readonly actor: Actor;
  readonly progress: Progress;
  readonly started: number;
  readonly options: InternalRunOptions;
}

/**
 * Somebody wanted something, and why it was refused belongs in the record. A
 * journal in which nothing is recorded yet stays so: it may have been made for this.
 */
export async function recordRefusal(
  { journal }: EngineContext,
  groups: OperationsByImage,
  { actor, started, options }: Beginning,
  error: unknown,
): Promise<void> {
  if (journal.isFresh || !isQcowalError(error) || error.code === "ABORTED") return;
  const body: RefusedBody = {
    type: "refused",
    operations: [...groups.values()].flat(),
    actor,
    ...(options.reason === undefined ? {} : { reason: options.reason }),
    asked: started,
    images: [...groups.keys()],
    code: error.code,
    why: error.message,
  };
  // The refusal itself is what the caller has to hear of.
  await journal.note(body, topicsOf({ kind: "note", body })).catch(() => undefined);
}

/** Which file each image is, by its path. */
const filesOf = async (
  { environment }: EngineContext,
  disks: readonly Disk[],
): Promise<ReadonlyMap<string, FileId>> =>
  new Map(await Promise.all(disks.map(async ({ path }) => [path, await environment.fileId(path)] as const)));

/** Who the images are, and what the record did not know of them. */
async function identified(
  { journal, environment }: EngineContext,
  planned: readonly PlannedImage[],
  files: ReadonlyMap<string, FileId>,
): Promise<BegunImage[]> {
  const images: BegunImage[] = [];
  for (const { disk, image, plan } of planned) {
    const file = files.get(disk.path);
    invariant(file !== undefined, `${disk.path} was planned and not identified`);
    const identity = identityOf(disk.path, file, image);
    const entries = image.snapshotTable.snapshots.map(({ entry }) => entry);
    const observed = await observe(journal, environment, { identity, entries }, planned.length);
    images.push({
      ...identity,
      digest: tableDigest(entries),
      ...(plan.snapshots === undefined ? {} : { digestAfter: tableDigest(plan.snapshots) }),
      ...(observed === undefined ? {} : { observed }),
    });
  }
  return images;
}

/** Plans what was not planned before, and gives the transaction its number. Nothing but the journal is written. */
export async function begin(
  context: EngineContext,
  disks: readonly Disk[],
  groups: OperationsByImage,
  { actor, progress, started, options }: Beginning,
  first?: readonly PlannedImage[],
): Promise<Transaction> {
  try {
    progress.step("plan");
    const files = filesOf(context, disks);
    // It is awaited when all is planned; until then a failure is not unhandled.
    files.catch(() => undefined);
    const planned =
      first === undefined
        ? await planAll(disks, groups, started, progress, options, context.journal)
        : await judged(first, options);
    const images = await identified(context, planned, await files);
    const begun: BegunBody = {
      operations: [...groups.values()].flat(),
      actor,
      ...(options.reason === undefined ? {} : { reason: options.reason }),
      ...(options.undoes === undefined ? {} : { undoes: options.undoes }),
      asked: started,
      images,
    };
    progress.step("prepare");
    // Nothing comes between this and the plan: they are one write, if the plan is short.
    const number = await context.journal.begin(begun, topicsOf({ kind: "begun", body: begun }), true);
    progress.transaction = number;
    return new Transaction(context, number, planned, actor, progress);
  } catch (error) {
    await recordRefusal(context, groups, { actor, progress, started, options }, error);
    throw withNothingChanged(error);
  }
}
