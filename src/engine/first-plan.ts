import { isDeepStrictEqual } from "node:util";
import type { Disk } from "../disk/index.ts";
import { withNothingChanged } from "../errors/index.ts";
import { closeAll, openAll } from "./context.ts";
import type { PlannedImage } from "./guard.ts";
import type { Environment, FileId, RunOptions } from "./options.ts";
import { type OperationsByImage, planAll } from "./planned-images.ts";
import { Progress } from "./progress.ts";

/**
 * Operations that were planned before there is a journal to record them, so that
 * what is refused leaves none. The images are locked as a reader locks them: nobody
 * writes to them until it is carried out or closed.
 */
export class FirstPlan {
  readonly groups: OperationsByImage;
  /** When they were asked for, in milliseconds since 1970. */
  readonly started: number;
  readonly planned: readonly PlannedImage[];
  readonly #environment: Environment;
  readonly #disks: readonly Disk[];
  readonly #files: readonly FileId[];

  private constructor(
    environment: Environment,
    groups: OperationsByImage,
    started: number,
    {
      disks,
      files,
      planned,
    }: Pick<FirstPlan, "planned"> & {
      readonly disks: readonly Disk[];
      readonly files: readonly FileId[];
    },
  ) {
    this.groups = groups;
    this.started = started;
    this.planned = planned;
    this.#environment = environment;
    this.#disks = disks;
    this.#files = files;
  }

  /** @throws QcowalError what a dry run throws */
  static async make(
    environment: Environment,
    groups: OperationsByImage,
    options: RunOptions,
  ): Promise<FirstPlan> {
    const started = environment.now();
    const progress = new Progress(options, [...groups.keys()]);
    const disks = await openAll(environment, [...groups.keys()], "read");
    try {
      const files = await filesOf(environment, disks);
      progress.step("plan");
      const planned = await planAll(disks, groups, started, progress, {});
      return new FirstPlan(environment, groups, started, { disks, files, planned });
    } catch (error) {
      await closeAll(disks);
      throw withNothingChanged(error);
    }
  }

  /**
   * The disks, locked as a writer locks them, and the plan for them as they are.
   * Undefined, and all of them are closed, where that cannot be had: they have to
   * be opened and planned anew.
   */
  async forWriting(): Promise<readonly Disk[] | undefined> {
    if (this.#disks.every((disk) => disk.lockForWriting?.() === true)) {
      // A path may have become another file's meanwhile, whose name the record would give to this one.
      const files = await filesOf(this.#environment, this.#disks).catch(() => undefined);
      if (isDeepStrictEqual(files, this.#files)) return this.#disks;
    }
    await this.close();
    return undefined;
  }

  /** Lets the images go, and changes nothing. Idempotent. */
  async close(): Promise<void> {
    await closeAll(this.#disks);
  }
}

const filesOf = (environment: Environment, disks: readonly Disk[]): Promise<FileId[]> =>
  Promise.all(disks.map(({ path }) => environment.fileId(path)));
