import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SCRATCH } from "./qemu-sample.ts";
import type { CaseResult } from "./run-case.ts";

/** A case to explore; without a number of recoveries to cut, as many as its size allows. */
export interface WorkerTask {
  readonly seed: number;
  readonly cutRecoveries: number | undefined;
}

/** What a worker says of a case. */
export type WorkerAnswer =
  { readonly result: CaseResult; readonly qemuJudged: number } | { readonly failure: string };

/** Processes that explore cases side by side. */
export class Workers {
  readonly #children: readonly ChildProcess[];
  readonly #scratch = mkdtempSync(join(SCRATCH, "qcowal-crash-"));
  /** However the search ends: workers that are killed leave their files behind. */
  readonly #tidyUp = (): void => rmSync(this.#scratch, { recursive: true, force: true });
  readonly #stop = (): never => process.exit(130);

  constructor(count: number) {
    process.on("exit", this.#tidyUp);
    process.on("SIGINT", this.#stop);
    const worker = join(import.meta.dirname, "worker.ts");
    // Most of what a search makes it forgets at once, and the collector has less to copy.
    const execArgv = [...process.execArgv, "--max-semi-space-size=64"];
    this.#children = Array.from({ length: count }, () =>
      fork(worker, [this.#scratch], { stdio: "inherit", execArgv }),
    );
  }

  /** Answers come in any order. */
  async *explore(tasks: readonly WorkerTask[]): AsyncGenerator<WorkerAnswer> {
    const queue = [...tasks];
    const ask = async (child: ChildProcess, task: WorkerTask) => {
      const ended = new AbortController();
      child.send(task);
      try {
        const [answer] = (await Promise.race([
          once(child, "message", { signal: ended.signal }),
          once(child, "exit", { signal: ended.signal }).then(([code]) => [
            { failure: `the worker ended with ${String(code)} in case ${task.seed}` },
          ]),
        ])) as [WorkerAnswer];
        return { child, answer };
      } finally {
        ended.abort();
      }
    };
    const running = new Map<ChildProcess, ReturnType<typeof ask>>();
    const next = (child: ChildProcess): void => {
      const task = queue.shift();
      if (task === undefined) running.delete(child);
      else running.set(child, ask(child, task));
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
