/**
 * The crash lab: `npm run crash`. Explores what kills and power cuts leave of
 * transactions on random images, until it has seen so many distinct states, and
 * stops at the first after which the promise does not hold.
 */
import { availableParallelism } from "node:os";
import { type Given, runTool, wholeNumber } from "../command-line.ts";
import { ensureSystemPackages } from "../test/system-packages.ts";
import { caseSeed } from "./cases.ts";
import { duration, Status } from "./status.ts";
import { type Search, adding, loadSearch, newSearch, saveSearch, statesOf } from "./progress-file.ts";
import { QemuSample } from "./qemu-sample.ts";
import { runCase } from "./run-case.ts";
import { Workers } from "./workers.ts";

const HELP = `npm run crash -- [options]

  --states N      stop after so many distinct states (default 100,000; the nightly
                  command 'npm run crash:nightly' takes 10,000,000)
  --seed N        decides every image, operation and crash (default: a new one, printed)
  --resume FILE   keep the state of the search in FILE, and go on from it
  --case SEED     replay one case, as an error names it
  --recoveries N  of so many crashes of each case the recovery is cut too, at each of
                  its points (default: some, by the size of the images)
  --workers N     processes (default: one for each core)`;

/** Cases between two saves: each save is a point where the next run can go on. */
const CASES_PER_ROUND = 16;

async function replay(seed: number): Promise<void> {
  const qemu = await QemuSample.open();
  try {
    const { name, refused, ...counts } = await runCase(seed, { sample: qemu.sample });
    console.log(`case ${seed}: ${name}`);
    console.log(refused === undefined ? JSON.stringify(counts, undefined, 2) : `refused: ${refused}`);
  } finally {
    await qemu.close();
  }
}

interface SearchOptions {
  readonly states: number;
  readonly workers: number;
  readonly cutRecoveries: number | undefined;
  readonly file: string | undefined;
}

async function search(
  start: Search,
  { states, workers, cutRecoveries, file }: SearchOptions,
): Promise<Search> {
  const pool = await Workers.open(workers);
  const status = new Status(states, statesOf(start));
  const began = performance.now();
  let done = start;
  try {
    while (statesOf(done) < states) {
      const tasks = Array.from({ length: CASES_PER_ROUND }, (_, index) => ({
        seed: caseSeed(start.seed, done.cases + index),
        cutRecoveries,
      }));
      for await (const answer of pool.explore(tasks)) {
        if ("failure" in answer) throw new Error(answer.failure);
        done = adding(done, answer.result, answer.qemuJudged);
        status.show(statesOf(done), done.cases);
      }
      done = { ...done, seconds: start.seconds + Math.round((performance.now() - began) / 1000) };
      if (file !== undefined) await saveSearch(file, done);
    }
    return done;
  } finally {
    status.clear();
    pool.close();
  }
}

function summary(done: Search): string {
  const number = (value: number): string => value.toLocaleString("en-US");
  return [
    `${number(statesOf(done))} distinct states of ${number(done.cases - done.refused)} transactions, 0 failures, in ${duration(done.seconds)}`,
    `  ${number(done.crashes)} left by the operation, ${number(done.recoveryCrashes)} by a recovery that was cut too`,
    `  ${number(done.before)} became as before, ${number(done.after)} as after; ${number(done.fenced)} were fenced until then`,
    `  ${number(done.repairs)} of those were repaired by a scan too, as if the journal were lost`,
    `  ${number(done.qemuJudged)} were shown to qemu-img and qemu-io as well; ${number(done.refused)} operations were refused`,
  ].join("\n");
}

const OPTIONS = ["states", "seed", "resume", "case", "recoveries", "workers"] as const;

async function main(values: Given<(typeof OPTIONS)[number]>): Promise<void> {
  if (ensureSystemPackages().length > 0) throw new Error("the lab does not judge without qemu");
  if (values.case !== undefined) {
    await replay(wholeNumber(values.case, "case", 0));
    return;
  }
  const states = wholeNumber(values.states, "states", 100_000);
  const workers = Math.max(1, wholeNumber(values.workers, "workers", availableParallelism()));
  const saved = values.resume === undefined ? undefined : await loadSearch(values.resume);
  const seed = wholeNumber(values.seed, "seed", saved?.seed ?? Math.floor(Math.random() * 2 ** 32));
  if (saved !== undefined && saved.seed !== seed) {
    throw new TypeError(`${values.resume} is a search with seed ${saved.seed}, not ${seed}`);
  }
  console.log(`seed ${seed}${saved === undefined ? "" : `, going on after ${saved.cases} cases`}`);
  const cutRecoveries =
    values.recoveries === undefined ? undefined : wholeNumber(values.recoveries, "recoveries", 0);
  const options: SearchOptions = { states, workers, cutRecoveries, file: values.resume };
  console.log(summary(await search(saved ?? newSearch(seed), options)));
}

await runTool(HELP, OPTIONS, main);
