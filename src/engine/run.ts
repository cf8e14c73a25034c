/**
 * The life of a transaction:
 *
 *   lock, recover, plan     every refusal happens here
 *   prepare                 journal: operations and all intents; sync
 *   fence                   no other tool opens the images from here; sync
 *   reserve                 new clusters filled, nothing refers to them; sync
 *   commit                  journal: the one decision for all images; sync
 *   raise, switch, lower    each followed by a sync
 *   discard, unfence        sync
 *   settle                  journal
 *
 * If power fails before `commit` is durable, recovery gives the reserved space
 * back; after it, recovery applies every phase again. In each phase the image is
 * the old state plus leaks or the new state plus leaks, so that even with the
 * journal lost a scan can mend it.
 */
import type { Journal } from "../../journal/index.ts";
import type { Disk } from "../disk/index.ts";
import { QcowalError } from "../errors/index.ts";
import { type Image, readImage } from "../image/index.ts";
import { type ImagePlan, type Operation, assertOperation, planImage } from "../plan/index.ts";
import { type Actor, currentActor } from "./actor.ts";
import { applyParts, partsOf, syncAll } from "./apply-phases.ts";
import { type BegunBody, type EndBody, type PreparedImage, encodeParts, encodePrepared } from "./bodies.ts";
import { type EngineContext, closeAll, openAll, ownerOf } from "./context.ts";
import { fenceIntent, unfence } from "./fence.ts";
import { fencedError } from "./fenced-error.ts";
import { giveBack } from "./give-back.ts";
import { identityOf } from "./identity.ts";
import type { Environment, RunOptions } from "./options.ts";
import { Progress } from "./progress.ts";
import { recoverImages } from "./recover.ts";
import type { DryRunReport, ImageReport, RunReport } from "./reports.ts";
import { applyIntent } from "../intent/index.ts";

/** The operations of each image, by resolved path in lock order. */
export type OperationsByImage = ReadonlyMap<string, readonly Operation[]>;

/**
 * @throws TypeError for malformed operations
 * @throws QcowalError IMAGE_NOT_FOUND
 */
export async function groupByImage(
  environment: Environment,
  operations: readonly Operation[],
): Promise<OperationsByImage> {
  if (!Array.isArray(operations) || operations.length === 0) {
    throw new TypeError("operations must be a list of at least one operation");
  }
  const groups = new Map<string, Operation[]>();
  for (const operation of operations) {
    assertOperation(operation);
    const image = await environment.resolvePath(operation.image);
    const group = groups.get(image) ?? [];
    group.push({ ...operation, image });
    groups.set(image, group);
  }
  return new Map([...groups].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

interface PlannedImage {
  readonly disk: Disk;
  readonly image: Image;
  readonly plan: ImagePlan;
}

async function planAll(
  disks: readonly Disk[],
  groups: OperationsByImage,
  now: number,
  journal?: Journal,
): Promise<PlannedImage[]> {
  const planned: PlannedImage[] = [];
  for (const disk of disks) {
    const image = await readImage(disk);
    if (image.header.fenced) throw await fencedError(disk.path, image, journal);
    planned.push({ disk, image, plan: await planImage(image, groups.get(disk.path) ?? [], { now }) });
  }
  return planned;
}

const reportOf = ({ disk, plan }: PlannedImage): ImageReport => ({
  image: disk.path,
  outcomes: plan.outcomes,
  summary: plan.summary,
});

/** Plans without writing anything: neither image nor journal. Takes the locks of a reader. */
export async function dryRun(
  environment: Environment,
  groups: OperationsByImage,
  options: RunOptions,
): Promise<DryRunReport> {
  const progress = new Progress(options, [...groups.keys()]);
  const disks = await openAll(environment, [...groups.keys()], "read");
  try {
    progress.step("plan");
    const planned = await planAll(disks, groups, environment.now());
    return {
      dryRun: true,
      images: planned.map((image) => ({
        ...reportOf(image),
        fileSize: image.plan.fileSize,
        phases: image.plan.phases,
      })),
    };
  } finally {
    await closeAll(disks);
  }
}

/** Runs the operations as one transaction, all or nothing. Pending transactions on the images are recovered first. */
export async function runTransaction(
  context: EngineContext,
  groups: OperationsByImage,
  options: RunOptions,
): Promise<RunReport> {
  const { environment, journal } = context;
  const started = environment.now();
  const paths = [...groups.keys()];
  const actor = currentActor(environment.program, options.actor);
  const progress = new Progress(options, paths);
  progress.step("recover");
  const recovered = await recoverImages(context, paths, { actor }, (transaction) =>
    progress.step("recover", transaction),
  );
  const disks = await openAll(environment, paths, "write");
  try {
    progress.step("plan");
    const planned = await planAll(disks, groups, started, journal);
    const begun: BegunBody = {
      operations: [...groups.values()].flat(),
      actor,
      ...(options.reason === undefined ? {} : { reason: options.reason }),
      images: await Promise.all(
        planned.map(async ({ disk, image }) =>
          identityOf(disk.path, await environment.fileId(disk.path), image),
        ),
      ),
    };
    progress.step("prepare");
    const transaction = await journal.begin(begun);
    progress.transaction = transaction;
    await new Transaction(context, transaction, planned, actor, progress).run();
    return {
      transaction,
      journal: journal.dir,
      images: planned.map(reportOf),
      recovered,
      durationMs: environment.now() - started,
    };
  } finally {
    await closeAll(disks);
  }
}

class Transaction {
  readonly #context: EngineContext;
  readonly #number: number;
  readonly #planned: readonly PlannedImage[];
  readonly #prepared: readonly PreparedImage[];
  readonly #actor: Actor;
  readonly #progress: Progress;

  constructor(
    context: EngineContext,
    number: number,
    planned: readonly PlannedImage[],
    actor: Actor,
    progress: Progress,
  ) {
    this.#context = context;
    this.#number = number;
    this.#planned = planned;
    this.#actor = actor;
    this.#progress = progress;
    const owner = ownerOf(context.journal, number);
    this.#prepared = planned.map(({ image, plan }) => ({
      fence: fenceIntent(image, owner),
      fileSize: plan.fileSize,
      outcomes: plan.outcomes,
      summary: plan.summary,
    }));
  }

  async run(): Promise<void> {
    try {
      await this.#prepare();
    } catch (error) {
      // No image was touched. If the journal cannot even record that, recovery will.
      await this.#recordAbort(error).catch(() => undefined);
      throw error;
    }
    try {
      await this.#fenceAndReserve();
    } catch (error) {
      await this.#giveBack(error);
      throw error;
    }
    try {
      await this.#commitAndApply();
    } catch (cause) {
      throw this.#interrupted(cause);
    }
    await this.#settle();
  }

  async #prepare(): Promise<void> {
    const { journal } = this.#context;
    for (const part of encodeParts(this.#planned.map(({ plan }) => plan)))
      await journal.part(this.#number, part);
    await journal.prepare(this.#number, encodePrepared({ images: this.#prepared }));
  }

  async #fenceAndReserve(): Promise<void> {
    this.#progress.step("fence");
    await this.#forEachImage((disk, { fence }) => applyIntent(disk, fence));
    await this.#syncAll();
    this.#progress.step("reserve");
    await this.#forEachImage(async (disk, { fileSize }, plan) => {
      if (fileSize.to > fileSize.from) await disk.truncate(fileSize.to);
      for (const intent of plan.phases.reserve) await applyIntent(disk, intent);
    });
    await this.#syncAll();
    this.#progress.step("commit");
  }

  async #commitAndApply(): Promise<void> {
    this.#progress.committed();
    await this.#context.journal.commit(this.#number);
    const disks = this.#planned.map(({ disk }) => disk);
    const parts = [...partsOf(this.#planned.map(({ plan }) => plan))].filter(
      ({ phase }) => phase !== "reserve",
    );
    await applyParts(disks, parts, (phase) => this.#progress.step(phase));
    this.#progress.step("unfence");
    await this.#forEachImage((disk, { fence }) => unfence(disk, fence));
    await this.#syncAll();
  }

  /** Everything is on disk. A lost settle record costs nothing: recovery writes it again. */
  async #settle(): Promise<void> {
    this.#progress.step("settle");
    const end: EndBody = { recovered: false, actor: this.#actor };
    try {
      await this.#context.journal.settle(this.#number, end);
    } catch (cause) {
      throw new QcowalError(
        "NEEDS_RECOVERY",
        `${this.#names()}: the operation is done and the image is free, but the journal could not record its end: ${messageOf(cause)} 'qcowal recover' records it.`,
        { cause, details: this.#place() },
      );
    }
  }

  async #giveBack(error: unknown): Promise<void> {
    try {
      await this.#forEachImage((disk, image) => giveBack(disk, image));
      await this.#recordAbort(error);
    } catch {
      throw new QcowalError(
        "NEEDS_RECOVERY",
        `${this.#names()}: the operation failed before it was decided, and what it reserved could not be given back: ${messageOf(error)}. The snapshots are as before; 'qcowal recover' removes the fence.`,
        { cause: error },
      );
    }
  }

  async #recordAbort(error: unknown): Promise<void> {
    const end: EndBody = { recovered: false, actor: this.#actor, why: messageOf(error) };
    await this.#context.journal.abort(this.#number, end);
  }

  #interrupted(cause: unknown): QcowalError {
    return new QcowalError(
      "NEEDS_RECOVERY",
      `${this.#names()}: interrupted while being written: ${messageOf(cause)}. The image stays fenced; 'qcowal recover' finishes the operation or proves that it never began.`,
      { cause, details: this.#place() },
    );
  }

  #place(): { transaction: number; journal: string } {
    return { transaction: this.#number, journal: this.#context.journal.dir };
  }

  #names(): string {
    return this.#planned.map(({ disk }) => disk.path).join(", ");
  }

  async #forEachImage(
    action: (disk: Disk, prepared: PreparedImage, plan: ImagePlan) => Promise<void>,
  ): Promise<void> {
    for (const [index, { disk, plan }] of this.#planned.entries()) {
      const prepared = this.#prepared[index];
      if (prepared !== undefined) await action(disk, prepared, plan);
    }
  }

  async #syncAll(): Promise<void> {
    await syncAll(new Set(this.#planned.map(({ disk }) => disk)));
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
