import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { readState } from "../../../test/support/state.ts";
import { cli } from "../../../test/support/command.ts";
import { damaged } from "../../../test/support/damage.ts";
import { expected, visible } from "../../../test/support/model.ts";
import type { Operation } from "../../../src/plan/index.ts";
import { type Random, seededRandom, writeImage } from "../../image-maker/index.ts";
import type { CrashCase } from "./cases.ts";
import type { Event } from "./change.ts";
import { inProcess } from "./command.ts";
import { CUT, type Scene, type Subject, judge } from "./judge.ts";
import { record } from "./record.ts";
import { type CrashState, crashStates, finalTree } from "./states.ts";
import { type Tree, difference, readTree, writeTree } from "./tree.ts";

export interface CaseReport {
  readonly name: string;
  readonly events: number;
  /** Distinct states that were judged, those of recoveries included. */
  readonly states: number;
  readonly recoveryStates: number;
  /** Distinct states that there were to choose from. */
  readonly found: number;
  readonly fenced: number;
  readonly before: number;
  readonly after: number;
  readonly thorough: number;
  readonly problems: readonly string[];
}

export interface CaseOptions {
  /** At most so many states of the run, and of each recovery. */
  readonly states: number;
  /** One state in so many is judged thoroughly. */
  readonly thoroughEvery: number;
}

/** Memory, where there is a file system of it: the order of changes is recorded, not what a real disk does. */
export async function scratchDir(): Promise<string> {
  const base = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  return realpath(await mkdtemp(join(base, "qcowal-crash-")));
}

/** Records one run of the real command, cuts it everywhere, recovers and judges. */
export async function runCase(crashCase: CrashCase, seed: number, options: CaseOptions): Promise<CaseReport> {
  const stage = await Stage.open(crashCase, seededRandom(seed), options);
  try {
    return await stage.run();
  } finally {
    await stage.close();
  }
}

/** More than a block of LevelDB's log, 32 KiB. */
const LONG_REASON = 34_000;

class Stage {
  readonly #case: CrashCase;
  readonly #random: Random;
  readonly #options: CaseOptions;
  readonly #dir: string;
  readonly #problems: string[] = [];
  readonly #counts = { states: 0, recoveryStates: 0, found: 0, fenced: 0, before: 0, after: 0, thorough: 0 };

  private constructor(crashCase: CrashCase, random: Random, options: CaseOptions, dir: string) {
    this.#case = crashCase;
    this.#random = random;
    this.#options = options;
    this.#dir = dir;
  }

  static async open(crashCase: CrashCase, random: Random, options: CaseOptions): Promise<Stage> {
    return new Stage(crashCase, random, options, await scratchDir());
  }

  async close(): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }

  async run(): Promise<CaseReport> {
    const paths = await this.#build();
    const start = readTree(this.#home);
    const before = paths.map(readState);
    const { verb, halfMade } = this.#case;
    const journal = join(this.#home, ".qcowal");
    const earlier: readonly Event[] = halfMade ? [{ kind: "mkdir", path: journal }] : [];
    if (halfMade) await mkdir(journal);
    const reason = CUT.padEnd(this.#case.longRecords ? LONG_REASON : 0, ".");
    const words = [verb, "--reason", reason, ...this.#case.words, ...paths];
    const events = await this.#record(words, start, earlier);
    const after = paths.map(readState);
    const subjects = paths.map((path, index): Subject => {
      const [then, now] = [before[index], after[index]];
      assert.ok(then !== undefined && now !== undefined);
      return {
        path,
        before: then,
        after: this.#case.operations
          .map((operation): Operation => ({ ...operation, image: path }))
          .reduce(expected, visible(then.bytes)),
        headerAfter: now.firstCluster,
        repair: verb === "repair" ? { hardens: this.#case.words.includes("--harden") } : undefined,
      };
    });
    const scene = { journal, subjects, words };
    const states = this.#states(start, events);
    for (const state of states) await this.#judge(scene, events, state);
    this.#counts.states = states.length;
    await this.#cutRecoveries(scene, states);
    return { name: this.#case.name, events: events.length, ...this.#counts, problems: this.#problems };
  }

  get #home(): string {
    return join(this.#dir, "home");
  }

  async #build(): Promise<string[]> {
    await mkdir(this.#home);
    const paths = this.#case.images.map((_, index) => join(this.#home, `${index}.qcow2`));
    for (const [index, spec] of this.#case.images.entries()) await writeImage(paths[index] ?? "", spec);
    for (let past = 0; past < this.#case.history; past++) {
      const { code, stderr } = await inProcess(past % 2 === 0 ? "create" : "delete", "past", paths[0] ?? "");
      assert.equal(code, 0, stderr);
    }
    const { damage } = this.#case;
    for (const path of damage === undefined ? [] : paths)
      await writeFile(path, damaged(await readFile(path), damage));
    return paths;
  }

  /** Records the command, and that the recording is complete: it makes what the command made. */
  async #record(words: readonly string[], start: Tree, earlier: readonly Event[] = []): Promise<Event[]> {
    const own = await record(cli(...words), this.#home, join(this.#dir, "trace"));
    const shifted = own.map((event) =>
      event.kind === "sync" ? { ...event, covers: event.covers + earlier.length } : event,
    );
    const events = [...earlier, ...shifted];
    const differs = difference(finalTree(this.#home, start, events), readTree(this.#home));
    assert.equal(differs, undefined, "what was recorded is not what was done");
    return events;
  }

  #states(start: Tree, events: readonly Event[]): CrashState[] {
    const all = crashStates(this.#home, start, events, this.#random);
    this.#counts.found += all.length;
    return all.slice(0, this.#options.states);
  }

  async #judge(scene: Scene, events: readonly Event[], state: CrashState, within = ""): Promise<boolean> {
    const thorough = this.#random.int(this.#options.thoroughEvery) === 0;
    writeTree(this.#home, state.tree());
    try {
      const { outcome, fenced } = await judge(scene, thorough);
      this.#counts[outcome] += 1;
      if (thorough) this.#counts.thorough += 1;
      if (fenced > 0) this.#counts.fenced += 1;
      return fenced > 0;
    } catch (error) {
      const last = events[state.position - 1];
      const where = `${this.#case.name}${within}, cut after event ${state.position} (${last?.kind} ${basename(last?.path ?? "")}) ${state.fates}`;
      this.#problems.push(`${where}: ${error instanceof Error ? error.message : String(error)}`);
      return false;
    }
  }

  /** Depth two: a recovery of some state behind the fence is recorded and cut. */
  async #cutRecoveries(scene: Scene, states: readonly CrashState[]): Promise<void> {
    const paths = scene.subjects.map(({ path }) => path);
    const candidates = this.#random.shuffle(states);
    for (let done = 0; done < this.#case.recoveries;) {
      const state = candidates.pop();
      if (state === undefined) throw new Error("no state of the run is behind a fence");
      const start = state.tree();
      writeTree(this.#home, start);
      const found = paths.map(readState);
      if (!found.some(({ fenced }) => fenced)) continue;
      const events = await this.#record(
        ["recover", "--journal", scene.journal, ...paths],
        readTree(this.#home),
      );
      const own = this.#states(start, events);
      const within = `, recovery of ${state.position} ${state.fates}`;
      for (const cut of own) await this.#judge(scene, events, cut, within);
      this.#counts.states += own.length;
      this.#counts.recoveryStates += own.length;
      done++;
    }
  }
}
