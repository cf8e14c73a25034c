import { type ChildProcess, fork } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundled } from "../crash/bundled.ts";
import { SCRATCH } from "../crash/qemu-sample.ts";
import { sparingFlags } from "../sparing-flags.ts";
import { FIRST_HEAP_MIB, MAX_CPU_MS, MAX_HEAP_MIB } from "./limits.ts";
import { realImages } from "./real-images.ts";
import type { Counts } from "./run-case.ts";

export interface ToWorker {
  readonly seed: number;
  /** Of the images that a repair left, one in so many is shown to qemu-img. */
  readonly qemuOneIn: number;
}

export type FromWorker =
  | { readonly type: "mutant"; readonly seed: number; readonly mutant: number }
  | { readonly type: "done"; readonly counts: Counts; readonly qemu: number }
  | { readonly type: "failed"; readonly message: string };

export type Answer = Exclude<FromWorker, { type: "mutant" }>;

/** A worker measures itself, but not when it never comes back: then it has used so much time since it last spoke. */
const HUNG_MS = 4 * MAX_CPU_MS;
const LOOK_EVERY_MS = 1000;
const TICK_MS = 10;

/** Milliseconds of the processor that a process has used; undefined when it is gone. */
function cpuOf(pid: number | undefined): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return undefined;
  }
}

/** Processes that run cases side by side, each with bounded memory. */
export class Workers {
  readonly #worker: string;
  readonly #count: number;
  readonly #dir: string;
  readonly #failures: string;
  readonly #tidyUp = (): void => rmSync(this.#dir, { recursive: true, force: true });

  private constructor(worker: string, count: number, dir: string, failures: string) {
    this.#worker = worker;
    this.#count = count;
    this.#dir = dir;
    this.#failures = failures;
    process.on("exit", this.#tidyUp);
  }

  /** Images that fail are left in `failures`. */
  static async open(count: number, failures = tmpdir()): Promise<Workers> {
    const worker = await bundled(join(import.meta.dirname, "worker.ts"));
    const dir = await mkdtemp(join(SCRATCH, "qcowal-fuzz-"));
    const workers = new Workers(worker, count, dir, failures);
    await realImages(dir);
    return workers;
  }

  /** Answers come in any order; `seeds` may have no end. */
  async *run(seeds: Iterator<number>, qemuOneIn: number): AsyncGenerator<Answer> {
    const children = new Set<ChildProcess>();
    const running = new Map<ChildProcess, Promise<{ child: ChildProcess; answer: Answer }>>();
    const next = (child: ChildProcess): void => {
      const { value, done } = seeds.next();
      if (done === true) {
        running.delete(child);
        child.disconnect();
        children.delete(child);
      } else running.set(child, ask(child, { seed: value, qemuOneIn }));
    };
    try {
      for (let index = 0; index < this.#count; index += 1) {
        const child = this.#fork();
        children.add(child);
        next(child);
      }
      while (running.size > 0) {
        const { child, answer } = await Promise.race(running.values());
        if (child.connected) next(child);
        else running.delete(child);
        yield answer;
      }
    } finally {
      for (const child of children) child.kill("SIGKILL");
    }
  }

  close(): void {
    this.#tidyUp();
    process.off("exit", this.#tidyUp);
  }

  #fork(): ChildProcess {
    return fork(this.#worker, [this.#dir, this.#failures], {
      stdio: "inherit",
      // A heap with a limit begins small, and is collected all the time until it has grown.
      execArgv: [
        `--max-old-space-size=${MAX_HEAP_MIB}`,
        `--initial-old-space-size=${FIRST_HEAP_MIB}`,
        "--expose-gc",
        ...sparingFlags(),
      ],
    });
  }
}

/** The answer to one case, whatever becomes of the worker. */
function ask(child: ChildProcess, task: ToWorker): Promise<{ child: ChildProcess; answer: Answer }> {
  return new Promise((resolve) => {
    let mutant = 0;
    let usedBefore = cpuOf(child.pid) ?? 0;
    const end = (answer: Answer): void => {
      clearInterval(watch);
      child.off("message", hear);
      child.off("exit", lost);
      resolve({ child, answer });
    };
    const failed = (what: string): void => {
      const message = `case ${task.seed}, mutant ${mutant}: ${what}\nReplay it: npm run fuzz -- --case ${task.seed}`;
      end({ type: "failed", message });
    };
    const hear = (said: FromWorker): void => {
      if (said.type !== "mutant") {
        end(said);
        return;
      }
      mutant = said.mutant;
      usedBefore = cpuOf(child.pid) ?? usedBefore;
    };
    const lost = (code: number | null, signal: string | null): void => {
      failed(`the process ended with ${code ?? signal}: out of memory?`);
    };
    const watch = setInterval(() => {
      const used = (cpuOf(child.pid) ?? 0) - usedBefore;
      if (used < HUNG_MS) return;
      child.off("exit", lost);
      child.disconnect();
      child.kill("SIGKILL");
      failed(`no end after ${used} ms of the processor`);
    }, LOOK_EVERY_MS);
    child.on("message", hear);
    child.on("exit", lost);
    child.send(task);
  });
}
