import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { sparingFlags } from "../../sparing-flags.ts";
import { bundled } from "../bundled.ts";
import type { CrashCase } from "./cases.ts";
import type { LaneWork } from "./lane.ts";
import type { CaseOptions, CaseReport } from "./run-case.ts";

/** Runs the cases on every core, each case in a place of its own; reports come in the order of the cases. */
export async function runCases(
  cases: readonly CrashCase[],
  seed: number,
  options: CaseOptions,
): Promise<CaseReport[]> {
  const lanes = await bundled(join(import.meta.dirname, "lane.ts"));
  const queue = [...cases.entries()];
  const reports: CaseReport[] = [];
  const work = async (): Promise<void> => {
    const lane = fork(lanes, {
      // Most of what it makes it forgets at once, and the collector has less to copy.
      execArgv: ["--max-semi-space-size=64", ...sparingFlags()],
    });
    try {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const [index, crashCase] = next;
        reports[index] = await answer(lane, { crashCase, seed: seed + index, options });
      }
    } finally {
      lane.kill();
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return reports;
}

async function answer(lane: ChildProcess, work: LaneWork): Promise<CaseReport> {
  lane.send(work);
  const exited = once(lane, "exit").then(([code]): never => {
    throw new Error(`the lane for ${work.crashCase.name} ended with ${String(code)}`);
  });
  // Once a lane has answered, its end is nobody's business.
  exited.catch(() => undefined);
  const [report] = (await Promise.race([once(lane, "message"), exited])) as [CaseReport];
  return report;
}
