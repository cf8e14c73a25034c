import type { Disk } from "../disk/index.ts";
import { QcowalError, isQcowalError, reasonOf, withNothingChanged } from "../errors/index.ts";
import { PHASES, applyIntent } from "../intent/index.ts";
import type { ImagePlan } from "../plan/index.ts";
import type { Actor } from "./actor.ts";
import { applyIntents } from "./apply-intents.ts";
import { applyParts, partsOf, syncAll } from "./apply-phases.ts";
import { type EndBody, type PreparedImage, encodeParts, encodePrepared } from "./bodies.ts";
import { type EngineContext, ownerOf } from "./context.ts";
import { fenceIntent } from "./fence.ts";
import { finishHeader } from "./finish-header.ts";
import { giveBack } from "./give-back.ts";
import type { PlannedImage } from "./guard.ts";
import type { Progress } from "./progress.ts";

/** A planned transaction that has its number, from `prepare` on. */
export class Transaction {
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
    const plans = this.planned.map(({ plan }) => plan);
    const progress = this.#progress;
    const parts = function* (): Generator<unknown> {
      for (const part of encodeParts(plans)) {
        progress.checkpoint();
        yield part;
      }
      progress.checkpoint();
    };
    await this.#context.journal.prepare(this.number, encodePrepared({ images: this.#prepared }), parts());
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
    for (const { plan } of this.planned) await plan.verify?.();
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
    const end: EndBody = {
      recovered: false,
      actor: this.#actor,
      why: reasonOf(error),
      ...(isQcowalError(error) ? { code: error.code } : {}),
    };
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
