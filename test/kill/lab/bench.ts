import { mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openJournal } from "../../../journal/index.ts";
import type { Operation } from "../../../src/plan/index.ts";
import { seededRandom } from "../../support/random.ts";
import { type Visible, expected, visible } from "../../support/model.ts";
import { copyInto } from "../../support/programs.ts";
import { cli, script } from "../../support/command.ts";
import { type ImageState, readState } from "../../support/state.ts";
import { type KillAt, type TracedRun, runTraced } from "./strace.ts";

/** An image as a test shape builds it. */
export interface Buildable {
  readonly name: string;
  readonly build: (dir: string, random: ReturnType<typeof seededRandom>) => Promise<string>;
}

export interface TargetImage {
  readonly path: string;
  readonly before: ImageState;
}

/** What is interrupted: one transaction on freshly built images. */
export interface KillCase {
  readonly name: string;
  readonly shapes: readonly Buildable[];
  readonly operations: (images: readonly TargetImage[]) => readonly Operation[];
}

export interface JudgedImage extends TargetImage {
  readonly after: Visible;
  /** Set when it was damaged and is repaired. */
  readonly repair: { readonly hardens: boolean } | undefined;
}

const SEED = 1;

/**
 * A place where one case is run again and again from the same start. Images and
 * journal lie at fixed paths, because the journal names them.
 */
export class Bench {
  readonly images: readonly JudgedImage[];
  readonly journal: string;
  readonly command: readonly string[];
  readonly #root: string;

  private constructor(root: string, images: readonly JudgedImage[], command: readonly string[]) {
    this.#root = root;
    this.images = images;
    this.journal = join(root, "home", "journal");
    this.command = command;
  }

  static async open(killCase: KillCase): Promise<Bench> {
    const root = await realpath(await mkdtemp(join(tmpdir(), "qcowal-kill-")));
    const home = join(root, "home");
    const targets: TargetImage[] = [];
    for (const [index, { build }] of killCase.shapes.entries()) {
      const dir = join(home, String(index));
      await mkdir(dir, { recursive: true });
      const path = await build(dir, seededRandom(SEED));
      targets.push({ path, before: readState(path) });
    }
    const operations = killCase.operations(targets);
    const images = targets.map((target) => ({
      ...target,
      after: operations
        .filter(({ image }) => image === target.path)
        .reduce(expected, visible(target.before.bytes)),
      repair: repairOf(operations, target.path),
    }));
    const bench = new Bench(root, images, commandFor(join(home, "journal"), operations));
    // A new journal is made under a name that differs from run to run: there is no nth call to kill. Those
    // kills are among the states of test/crash/real-files.test.ts.
    await (await openJournal(bench.journal, { create: true })).close();
    await bench.save("start");
    return bench;
  }

  get paths(): readonly string[] {
    return this.images.map(({ path }) => path);
  }

  /** Remembers images and journal as they are. */
  async save(name: string): Promise<void> {
    const to = join(this.#root, name);
    await rm(to, { recursive: true, force: true });
    await mkdir(to);
    await copyInto([join(this.#root, "home")], to);
  }

  /** Goes back to what was remembered. */
  async restore(name: string): Promise<void> {
    await rm(join(this.#root, "home"), { recursive: true, force: true });
    await copyInto([join(this.#root, name, "home")], this.#root);
  }

  run(killAt?: KillAt): Promise<TracedRun> {
    return this.#traced(this.command, killAt);
  }

  recover(killAt?: KillAt): Promise<TracedRun> {
    return this.#traced(cli("recover", "--journal", this.journal, ...this.paths), killAt);
  }

  async close(): Promise<void> {
    await rm(this.#root, { recursive: true, force: true });
  }

  #traced(command: readonly string[], killAt: KillAt | undefined): Promise<TracedRun> {
    return runTraced(command, [...this.paths, this.journal], join(this.#root, "trace"), killAt);
  }
}

function repairOf(operations: readonly Operation[], path: string): JudgedImage["repair"] {
  const own = operations.find(({ type, image }) => type === "repair" && image === path);
  return own?.type === "repair" ? { hardens: own.harden === true } : undefined;
}

/** The command line where it has words for it. */
function commandFor(journal: string, operations: readonly Operation[]): string[] {
  const [first] = operations;
  const words = first === undefined ? undefined : wordsOf(first);
  const isSame = operations.every(
    (operation) => operation.type === first?.type && wordsOf(operation)?.join() === words?.join(),
  );
  if (first === undefined || words === undefined || !isSame) return script(journal, operations);
  return cli(first.type, "--journal", journal, ...words, ...operations.map(({ image }) => image));
}

/** What the command is told besides the image; undefined where it has no words. */
function wordsOf(operation: Operation): string[] | undefined {
  if (operation.type !== "repair") {
    const to = operation.type === "rename" ? [operation.to] : [];
    return operation.name === undefined ? undefined : [operation.name, ...to];
  }
  return operation.harden === true ? ["--harden"] : [];
}
