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
import { QcowalError, isQcowalError, reasonOf, withNothingChanged } from "../errors/index.ts";
import { type Image, readImage } from "../image/index.ts";
import { type ImagePlan, type Operation, assertOperation, planImage } from "../plan/index.ts";
import { type Actor, currentActor } from "./actor.ts";
import { applyIntents } from "./apply-intents.ts";
import { applyParts, partsOf, syncAll } from "./apply-phases.ts";
import { type BegunBody, type EndBody, type PreparedImage, encodeParts, encodePrepared } from "./bodies.ts";
import { type EngineContext, closeAll, openAll, ownerOf } from "./context.ts";
import { fenceIntent } from "./fence.ts";
import { fencedError } from "./fenced-error.ts";
import { finishHeader } from "./finish-header.ts";
import { giveBack } from "./give-back.ts";
import { identityOf } from "./identity.ts";
import type { Environment, RunOptions } from "./options.ts";
import { Progress } from "./progress.ts";
import { topicsOf } from "./topics.ts";
import { recoverImages } from "./recover.ts";
import type { DryRunReport, ImageReport, RunReport } from "./reports.ts";
import { PHASES, applyIntent } from "../intent/index.ts";

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
  progress: Progress,
  journal?: Journal,
): Promise<PlannedImage[]> {
  const planned: PlannedImage[] = [];
  const onTable = (): void => progress.checkpoint();
  for (const disk of disks) {
    const operations = groups.get(disk.path) ?? [];
    const image = await readImage(
      disk,
      operations.some(({ type }) => type === "repair"),
    );
    if (image.header.fenced) throw await fencedError(disk.path, image, journal);
    const plan = await planImage(image, operations, { now, onTable });
    planned.push({ disk, image, plan });
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
    const planned = await planAll(disks, groups, environment.now(), progress);
    return {
      dryRun: true,
      images: planned.map((image) => ({
        ...reportOf(image),
        fileSize: image.plan.fileSize,
        phases: image.plan.phases,
      })),
    };
  } catch (error) {
    throw withNothingChanged(error);
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
    const transaction = await begin(context, disks, groups, { actor, progress, started, options });
    await transaction.run();
    return {
      transaction: transaction.number,
      journal: journal.dir,
      images: transaction.planned.map(reportOf),
      recovered,
      durationMs: environment.now() - started,
    };
  } finally {
    await closeAll(disks);
  }
}

interface Beginning {
  readonly actor: Actor;
  readonly progress: Progress;
  readonly started: number;
  readonly options: RunOptions;
}

/** Plans, and gives the transaction its number. Nothing but the journal is written. */
async function begin(
  context: EngineContext,
  disks: readonly Disk[],
  groups: OperationsByImage,
  { actor, progress, started, options }: Beginning,
): Promise<Transaction> {
  const { environment, journal } = context;
  try {
    progress.step("plan");
    const planned = await planAll(disks, groups, started, progress, journal);
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
    const number = await journal.begin(begun, topicsOf({ kind: "begun", body: begun }));
    progress.transaction = number;
    return new Transaction(context, number, planned, actor, progress);
  } catch (error) {
    throw withNothingChanged(error);
  }
}

class Transaction {
  readonly #context: EngineContext;
  readonly number: number;
  readonly planned: readonly PlannedImage[];
  readonly #prepared: readonly PreparedImage[];
  readonly #actor: Actor;
  readonly #progress: Progress;
  #isDecided = false;

  constructor(
    context: EngineContext,
    number: number,
    planned: readonly PlannedImage[],
    actor: Actor,
    progress: Progress,
  ) {
    this.#context = context;
    this.number = number;
    this.planned = planned;
    this.#actor = actor;
    this.#progress = progress;
    const owner = ownerOf(context.journal, number);
    this.#prepared = planned.map(({ image, plan }) => ({
      fence: fenceIntent(image, owner),
      ...(plan.extensionPatches === undefined ? {} : { extensionPatches: plan.extensionPatches }),
      fileSize: plan.fileSize,
      outcomes: plan.outcomes,
      summary: plan.summary,
    }));
  }

  async run(): Promise<void> {
    try {
      await this.#prepare();
    } catch (error) {
      throw await this.#undecided(error, []);
    }
    try {
      await this.#fenceAndReserve();
    } catch (error) {
      throw await this.#undecided(error, await this.#giveBack());
    }
    try {
      await this.#commitAndApply();
    } catch (cause) {
      // The journal looks for its directory before it writes: where that is gone, nothing was decided.
      if (isQcowalError(cause, "JOURNAL_NOT_FOUND")) {
        throw await this.#undecided(cause, await this.#giveBack());
      }
      throw this.#interrupted(cause);
    }
    await this.#settle();
  }

  async #prepare(): Promise<void> {
    const { journal } = this.#context;
    for (const part of encodeParts(this.planned.map(({ plan }) => plan))) {
      this.#progress.checkpoint();
      await journal.part(this.number, part);
    }
    this.#progress.checkpoint();
    await journal.prepare(this.number, encodePrepared({ images: this.#prepared }));
  }

  async #fenceAndReserve(): Promise<void> {
    this.#progress.step("fence");
    await this.#forEachImage((disk, { fence }) => applyIntent(disk, fence));
    await this.#syncAll();
    this.#progress.step("reserve");
    await this.#forEachImage(async (disk, { fileSize }, plan) => {
      if (fileSize.to > fileSize.from) await disk.truncate(fileSize.to);
      await applyIntents(disk, plan.phases.reserve, () => this.#progress.checkpoint());
    });
    await this.#syncAll();
    this.#progress.step("commit");
  }

  async #commitAndApply(): Promise<void> {
    this.#progress.committed();
    await this.#context.journal.commit(this.number);
    this.#isDecided = true;
    const disks = this.planned.map(({ disk }) => disk);
    const parts = partsOf(
      this.planned.map(({ plan }) => plan),
      PHASES.filter((phase) => phase !== "reserve"),
    );
    await applyParts(disks, parts, (phase) => this.#progress.step(phase));
    this.#progress.step("unfence");
    await this.#forEachImage(finishHeader);
    await this.#syncAll();
  }

  /** Everything is on disk. A lost settle record costs nothing: recovery writes it again. */
  async #settle(): Promise<void> {
    this.#progress.step("settle");
    const end: EndBody = { recovered: false, actor: this.#actor };
    try {
      await this.#context.journal.settle(this.number, end);
    } catch (cause) {
      throw new QcowalError(
        "NEEDS_RECOVERY",
        `${this.#names()}: the operation is done and the image is free, but the journal could not record its end: ${reasonOf(cause)} 'qcowal recover' records it${this.#inRecord()}.`,
        { cause, details: this.#place() },
      );
    }
  }

  /** Each image is given back for itself; returns those for which that failed. */
  async #giveBack(): Promise<string[]> {
    const stuck: string[] = [];
    await this.#forEachImage(async (disk, image) => {
      try {
        await giveBack(disk, image);
      } catch {
        stuck.push(disk.path);
      }
    });
    return stuck;
  }

  /** The error of a transaction that failed before it was decided. */
  async #undecided(error: unknown, stuck: readonly string[]): Promise<unknown> {
    if (stuck.length > 0) {
      return new QcowalError(
        "NEEDS_RECOVERY",
        `${stuck.join(", ")}: the operation failed before it was decided, and what it reserved could not be given back: ${reasonOf(error)} The snapshots are as before; 'qcowal recover' removes the fence${this.#inRecord()}.`,
        { cause: error, details: this.#place() },
      );
    }
    // No image carries a trace. If the journal cannot even record that, recovery will.
    await this.#recordAbort(error).catch(() => undefined);
    return withNothingChanged(error);
  }

  async #recordAbort(error: unknown): Promise<void> {
    const end: EndBody = { recovered: false, actor: this.#actor, why: reasonOf(error) };
    await this.#context.journal.abort(this.number, end);
  }

  #interrupted(cause: unknown): QcowalError {
    const [when, next] = this.#isDecided
      ? ["after it was decided", "finishes the operation"]
      : ["while it was being decided", "finishes the operation or proves that it never began"];
    return new QcowalError(
      "NEEDS_RECOVERY",
      `${this.#names()}: interrupted ${when}: ${reasonOf(cause)} What is fenced stays fenced; 'qcowal recover' ${next}${this.#inRecord()}.`,
      { cause, details: this.#place() },
    );
  }

  #place(): { path: string | undefined; transaction: number; journal: string } {
    const path = this.planned[0]?.disk.path;
    return { path, transaction: this.number, journal: this.#context.journal.dir };
  }

  #inRecord(): string {
    return ` (transaction ${this.number}, journal ${this.#context.journal.dir})`;
  }

  #names(): string {
    return this.planned.map(({ disk }) => disk.path).join(", ");
  }

  async #forEachImage(
    action: (disk: Disk, prepared: PreparedImage, plan: ImagePlan) => Promise<void>,
  ): Promise<void> {
    for (const [index, { disk, plan }] of this.planned.entries()) {
      const prepared = this.#prepared[index];
      if (prepared !== undefined) await action(disk, prepared, plan);
    }
  }

  async #syncAll(): Promise<void> {
    await syncAll(new Set(this.planned.map(({ disk }) => disk)));
  }
}
