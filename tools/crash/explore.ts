import type { InternalRunOptions } from "../../src/engine/index.ts";
import type { JournaledOperation } from "../../src/plan/index.ts";
import { Machine } from "../../test/support/machine.ts";
import type { Random } from "../../test/support/random.ts";
import {
  type Moment,
  type Observer,
  type World,
  attempt,
  recoverWorld,
  repairWorld,
} from "../../test/support/world.ts";
import type { StateLimits } from "./file-states.ts";
import { Judge, type JudgeOptions, type Outcome } from "./judge.ts";
import { type CrashState, killed, powerCuts } from "./moment-states.ts";

export interface ExploreOptions extends JudgeOptions {
  readonly random: Random;
  readonly limits: StateLimits;
  /** Of so many crashes, chosen at random, the recovery is cut at each of its points too. */
  readonly cutRecoveries: number;
  /** What the transaction needs beside its operations. */
  readonly run?: InternalRunOptions | undefined;
  /** Chance that a fenced state is repaired by a scan as well, with its journal thrown away. */
  readonly repair: number;
  /**
   * Hears of every distinct state before and after its recovery, for judges that
   * cost more. `references` are the start and what an undisturbed run left.
   */
  readonly sample?: (crashed: World, recovered: World, references: readonly World[]) => Promise<void>;
}

export interface Exploration {
  /** Distinct states that the operation's own crashes left, and those that crashes of recoveries left. */
  readonly crashes: number;
  readonly recoveryCrashes: number;
  /** Of all of them, how many were as before, as after, and fenced before their recovery. */
  readonly before: number;
  readonly after: number;
  readonly fenced: number;
  /** How many had some images fenced and others not: cut between fences, when nothing was decided, and between unfences. */
  readonly betweenFences: number;
  readonly betweenUnfences: number;
  /** How many were repaired by a scan too, without the journal. */
  readonly repairs: number;
}

/**
 * Crashes a transaction at every point, by a kill and by power cuts, recovers
 * and judges each distinct state; and crashes some of those recoveries at every
 * point in the same way. Throws an error that names the crash; a QcowalError
 * when the transaction itself is refused.
 */
export async function explore(
  start: World,
  operations: readonly JournaledOperation[],
  options: ExploreOptions,
): Promise<Exploration> {
  const run = await momentsOf((observe) => attempt(start, operations, new Machine(), options.run, observe));
  const judge = new Judge(start, operations, run.world, options);
  const explorer = new Explorer(judge, [start, run.world], options);
  await explorer.visitAll(run.moments, undefined);
  await explorer.cutRecoveries();
  return explorer.totals;
}

/** Runs a process and keeps what a power cut would find before each of its events and at its end. */
async function momentsOf(
  live: (observe: Observer) => Promise<{ readonly failure: unknown; readonly world: World }>,
): Promise<{ readonly moments: readonly Moment[]; readonly world: World }> {
  const moments: Moment[] = [];
  const { failure, world } = await live((_type, moment) => moments.push(moment()));
  if (failure !== undefined) throw failure;
  return { moments, world };
}

/**
 * Changes pile up until something makes them durable, and what they can leave
 * includes whatever fewer of them could: power cuts are tried just before that.
 */
const isBarrier = ({ next }: Moment): boolean => next === "sync" || next === "synced put" || next === "end";

class Explorer {
  readonly #judge: Judge;
  readonly #references: readonly World[];
  readonly #options: ExploreOptions;
  readonly #seen = new Set<string>();
  /** Crashes of the operation, whose recovery may be cut. */
  readonly #toCut: CrashState[] = [];
  readonly #totals = {
    crashes: 0,
    recoveryCrashes: 0,
    before: 0,
    after: 0,
    fenced: 0,
    betweenFences: 0,
    betweenUnfences: 0,
    repairs: 0,
  };

  constructor(judge: Judge, references: readonly World[], options: ExploreOptions) {
    this.#judge = judge;
    this.#references = references;
    this.#options = options;
  }

  get totals(): Exploration {
    return this.#totals;
  }

  /** `within` names the crash whose recovery these moments are of. */
  async visitAll(moments: readonly Moment[], within: string | undefined): Promise<void> {
    const { random, limits } = this.#options;
    for (const moment of moments) {
      await this.#visit(killed(moment), within);
      if (!isBarrier(moment)) continue;
      for (const state of powerCuts(moment, random, limits)) await this.#visit(state, within);
    }
  }

  /** Afterwards, because a state that a cut recovery leaves too is to be cut as what it is first. */
  async cutRecoveries(): Promise<void> {
    const { random, cutRecoveries } = this.#options;
    for (const { how, world } of random.shuffle(this.#toCut).slice(0, cutRecoveries)) {
      const { moments } = await momentsOf((observe) => recoverWorld(world, undefined, observe));
      await this.visitAll(moments, how);
    }
  }

  async #visit({ how, world }: CrashState, within: string | undefined): Promise<void> {
    const digest = this.#judge.digest(world);
    // What a kill left pending is lost only when the next process is cut too: as a state it is no other.
    const isPending = [...world.images.values()].some((file) => file.hasUnsynced);
    const key = isPending ? `${digest} pending` : digest;
    if (this.#seen.has(key)) return;
    const isNew = !this.#seen.has(digest) && !this.#seen.has(`${digest} pending`);
    this.#seen.add(key);
    // Nor can a recovery that nobody cuts tell them apart: it reads the same bytes, and was judged.
    if (isNew) await this.#judgeNew({ how, world }, within);
    if (within === undefined) this.#toCut.push({ how, world });
  }

  async #judgeNew({ how, world }: CrashState, within: string | undefined): Promise<void> {
    const where = within === undefined ? how : `${within}; its recovery: ${how}`;
    try {
      this.#judge.crashed(world);
      const recovery = await recoverWorld(world);
      const outcome = await this.#judge.recovered(world, recovery.world, secondRecovery);
      if (this.#judge.isFenced(world) && this.#options.random.chance(this.#options.repair)) {
        await this.#repair(world);
      }
      this.#count(world, outcome, within !== undefined);
      await this.#options.sample?.(world, recovery.world, this.#references);
    } catch (error) {
      if (error instanceof CrashError) throw error;
      throw new CrashError(where, error);
    }
  }

  /** Repairs by a scan, undisturbed and again after a power cut in the middle of it. */
  async #repair(world: World): Promise<void> {
    const { random, limits } = this.#options;
    const lost: World = { images: world.images, journal: [] };
    const { moments, world: repaired } = await momentsOf((observe) => repairWorld(lost, undefined, observe));
    this.#judge.repaired(world, repaired);
    const moment = random.pick(moments.filter(isBarrier));
    const [cut] = random.shuffle([...powerCuts(moment, random, limits)]);
    const again = cut === undefined ? killed(moment) : cut;
    this.#judge.crashed(again.world, true);
    this.#judge.repaired(again.world, (await repairWorld(again.world)).world);
    this.#totals.repairs += 1;
  }

  #count(world: World, outcome: Outcome, isOfRecovery: boolean): void {
    if (isOfRecovery) this.#totals.recoveryCrashes += 1;
    else this.#totals.crashes += 1;
    if (outcome === "before") this.#totals.before += 1;
    if (outcome === "after") this.#totals.after += 1;
    if (this.#judge.isFenced(world)) this.#totals.fenced += 1;
    if (!this.#judge.isFencedInPart(world)) return;
    if (outcome === "before") this.#totals.betweenFences += 1;
    if (outcome === "after") this.#totals.betweenUnfences += 1;
  }
}

async function secondRecovery(world: World): Promise<number> {
  return (await recoverWorld(world)).machine.events;
}

/** A crash after which the promise did not hold. */
export class CrashError extends Error {
  override readonly name = "CrashError";

  constructor(where: string, cause: unknown) {
    super(`${where}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
