import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { CaseResult } from "./run-case.ts";

/** What a worker says of a case. */
export type WorkerAnswer =
  { readonly result: CaseResult; readonly qemuJudged: number } | { readonly failure: string };

/** Processes that explore cases side by side. */
export class Workers {
  readonly #children: readonly ChildProcess[];

  constructor(count: number) {
    const worker = join(import.meta.dirname, "worker.ts");
    this.#children = Array.from({ length: count }, () => fork(worker, { stdio: "inherit" }));
  }

  /** Explores the cases of these seeds; answers come in any order. */
  async *explore(seeds: readonly number[]): AsyncGenerator<WorkerAnswer> {
    const queue = [...seeds];
    const ask = async (child: ChildProcess, seed: number) => {
      const ended = new AbortController();
      child.send(seed);
      try {
        const [answer] = (await Promise.race([
          once(child, "message", { signal: ended.signal }),
          once(child, "exit", { signal: ended.signal }).then(([code]) => [
            { failure: `the worker ended with ${String(code)} in case ${seed}` },
          ]),
        ])) as [WorkerAnswer];
        return { child, answer };
      } finally {
        ended.abort();
      }
    };
    const running = new Map<ChildProcess, ReturnType<typeof ask>>();
    const next = (child: ChildProcess): void => {
      const seed = queue.shift();
      if (seed === undefined) running.delete(child);
      else running.set(child, ask(child, seed));
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
  }
}
