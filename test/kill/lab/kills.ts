import { basename } from "node:path";
import { Bench, type KillCase } from "./bench.ts";
import { type Verdict, judge } from "./judge.ts";
import { readState } from "../../support/state.ts";
import { type TracedRun, killPoints } from "./strace.ts";

/** One kill and what became of it. */
export interface KillPoint {
  /** The call that did not happen, or "completed" for a run that was not killed. */
  readonly at: string;
  readonly killed: boolean;
  /** Watched calls that had been completed: two kills with the same number left the same state. */
  readonly completed: number;
  readonly verdict: Verdict | undefined;
  /** Why it is not clean. */
  readonly problem: string | undefined;
}

export interface KillReport {
  readonly points: readonly KillPoint[];
  /** Different moments at which the process was killed. */
  readonly distinct: number;
  /** Runs that ended before the kill. */
  readonly survived: number;
}

export interface KillOptions {
  /** Benches at work side by side. */
  readonly lanes: number;
  /** Of the kill points every n-th, and always the end of the run. */
  readonly every: number;
  /** On every n-th point all subcommands of qemu-img are tried. */
  readonly thoroughEvery: number;
}

const DEFAULTS: KillOptions = { lanes: 2, every: 1, thoroughEvery: 10 };

/** Kills the command at every write and sync, recovers, and judges. */
export function killEverywhere(killCase: KillCase, options: Partial<KillOptions> = {}): Promise<KillReport> {
  return onBenches(killCase, { ...DEFAULTS, ...options }, (bench) => bench.run());
}

/**
 * Kills the command at some points, then its recovery at every write and sync of
 * that, recovers again, and judges. `sample` chooses the first kills by position (0 to 1).
 */
export async function killRecoveryEverywhere(
  killCase: KillCase,
  sample: readonly number[],
  options: Partial<KillOptions> = {},
): Promise<KillReport[]> {
  const reports: KillReport[] = [];
  for (const position of sample) {
    reports.push(
      await onBenches(killCase, { ...DEFAULTS, ...options }, (bench) => bench.recover(), position),
    );
  }
  return reports;
}

async function onBenches(
  killCase: KillCase,
  options: KillOptions,
  undisturbed: (bench: Bench) => Promise<TracedRun>,
  firstKill?: number,
): Promise<KillReport> {
  const benches = await Promise.all(Array.from({ length: options.lanes }, () => Bench.open(killCase)));
  try {
    const headers = await Promise.all(benches.map(headersAfterRun));
    if (firstKill !== undefined) await Promise.all(benches.map((bench) => killOnce(bench, firstKill)));
    const start = firstKill === undefined ? "start" : "killed";
    const ways = await Promise.all(
      benches.map(async (bench) => {
        await bench.restore(start);
        const counted = await undisturbed(bench);
        if (counted.code !== 0) throw new Error(`the undisturbed run failed:\n${counted.stderr}`);
        return killPoints(counted);
      }),
    );
    const [length = 0, ...lengths] = ways.map((way) => way.length);
    if (lengths.some((other) => other !== length)) throw new Error("two undisturbed runs differ");
    // The last run is not killed: the state after the last call.
    const all = Array.from({ length: length + 1 }, (_, index) => index);
    const queue = all.filter((index) => index % options.every === 0 || index === length);
    const points: KillPoint[] = [];
    const work = async (bench: Bench, lane: number): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        await bench.restore(start);
        const at = ways[lane]?.[next];
        const run = firstKill === undefined ? await bench.run(at) : await bench.recover(at);
        points.push(await judgePoint(bench, run, headers[lane] ?? [], next % options.thoroughEvery === 0));
      }
    };
    await Promise.all(benches.map(work));
    return summarize(points);
  } finally {
    await Promise.all(benches.map((bench) => bench.close()));
  }
}

/** First clusters after an undisturbed run: allocation does not depend on the clock. */
async function headersAfterRun(bench: Bench): Promise<Buffer[]> {
  const run = await bench.run();
  if (run.code !== 0) throw new Error(`the undisturbed run failed:\n${run.stderr}${run.stdout}`);
  const states = bench.paths.map(readState);
  return states.map(({ firstCluster }) => firstCluster);
}

async function killOnce(bench: Bench, position: number): Promise<void> {
  await bench.restore("start");
  const points = killPoints(await bench.run());
  await bench.restore("start");
  await bench.run(points[Math.floor(position * (points.length - 1))]);
  await bench.save("killed");
}

async function judgePoint(
  bench: Bench,
  run: TracedRun,
  headersAfter: readonly Buffer[],
  thorough: boolean,
): Promise<KillPoint> {
  const { completed } = run;
  const last = run.calls.at(-1);
  const killed = run.signal === "SIGKILL";
  const at =
    !killed || last === undefined
      ? "completed"
      : `${last.name} ${basename(last.path)} (after ${completed} calls)`;
  try {
    if (!killed && run.code !== 0) throw new Error(`ended with ${run.code}:\n${run.stderr}`);
    return { at, killed, completed, verdict: await judge(bench, headersAfter, thorough), problem: undefined };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { at, killed, completed, verdict: undefined, problem };
  }
}

function summarize(points: readonly KillPoint[]): KillReport {
  const killed = points.filter((point) => point.killed);
  return {
    points,
    distinct: new Set(killed.map(({ completed }) => completed)).size,
    survived: points.length - killed.length,
  };
}
