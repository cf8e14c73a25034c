import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { bundled } from "./bundled.ts";
import { SCRATCH } from "./qemu-sample.ts";
import type { CaseResult } from "./run-case.ts";

/** A case to explore; without a number of recoveries to cut, as many as its size allows. */
export interface WorkerTask {
  readonly seed: number;
  readonly cutRecoveries: number | undefined;
}

/** What a worker says of a case. */
export type WorkerAnswer =
  | { readonly result: CaseResult; readonly qemuJudged: number; readonly qemuRefused: number }
  | { readonly failure: string };

/** The states of a case share the beginning of their journal: each record is decoded once. */
const REMEMBERED = [
  [
    resolve(import.meta.dirname, "../../journal/record.ts"),
    join(import.meta.dirname, "remembered-records.ts"),
  ],
] as const;

/** Processes that explore cases side by side. */
export class Workers {
  readonly #children: readonly ChildProcess[];
  readonly #scratch = mkdtempSync(join(SCRATCH, "qcowal-crash-"));
  /** However the search ends: workers that are killed leave their files behind. */
  readonly #tidyUp = (): void => rmSync(this.#scratch, { recursive: true, force: true });
  readonly #stop = (): never => process.exit(130);

  private constructor(count: number, worker: string) {
    process.on("exit", this.#tidyUp);
    process.on("SIGINT", this.#stop);
    // Most of what a search makes it forgets at once, and the collector has less to copy.
    const execArgv = ["--max-semi-space-size=64"];
    this.#children = Array.from({ length: count }, () =>
      fork(worker, [this.#scratch], { stdio: "inherit", execArgv }),
    );
  }

  static async open(count: number): Promise<Workers> {
    return new Workers(count, await bundled(join(import.meta.dirname, "worker.ts"), REMEMBERED));
  }

  /** Explores one case, in the first of the processes. */
  async ask(task: WorkerTask): Promise<WorkerAnswer> {
    const [child] = this.#children;
    if (child === undefined) throw new TypeError("a search without workers");
    return ask(child, task);
  }

  /** Answers come in any order. */
  async *explore(tasks: readonly WorkerTask[]): AsyncGenerator<WorkerAnswer> {
    const queue = [...tasks];
    const running = new Map<ChildProcess, Promise<{ child: ChildProcess; answer: WorkerAnswer }>>();
    const next = (child: ChildProcess): void => {
      const task = queue.shift();
      if (task === undefined) running.delete(child);
      else
        running.set(
          child,
          ask(child, task).then((answer) => ({ child, answer })),
        );
    };
    for (const child of this.#children) next(child);
    while (running.size > 0) {
      const { child, answer } = await Promise.race(running.values());
      next(child);
      yield answer;
    }
  }

  close(): void {
    for (const child of this.#children) child.disconnect();
    process.off("SIGINT", this.#stop);
  }
}

async function ask(child: ChildProcess, task: WorkerTask): Promise<WorkerAnswer> {
  const ended = new AbortController();
  child.send(task);
  try {
    const [answer] = (await Promise.race([
      once(child, "message", { signal: ended.signal }),
      once(child, "exit", { signal: ended.signal }).then(([code]) => [
        { failure: `the worker ended with ${String(code)} in case ${task.seed}` },
      ]),
    ])) as [WorkerAnswer];
    return answer;
  } finally {
    ended.abort();
  }
}
