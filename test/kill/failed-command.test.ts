import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { recover, requireBuiltCommand } from "../support/command.ts";
import { visible } from "../support/model.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { run } from "../support/programs.ts";
import { requireQemu } from "../support/qemu.ts";
import { Bench, type KillCase } from "./lab/bench.ts";
import { killCase } from "./lab/cases.ts";
import { type ImageState, readState } from "../support/state.ts";
import { type KillAt, type TracedRun, killPoints, requireStrace } from "./lab/strace.ts";

const MINUTES = 60_000;
const LANES = 2;

beforeAll(async () => {
  await requireQemu();
  await requireStrace();
  requireBuiltCommand();
}, 2 * MINUTES);

const SYNCS = ["fsync", "fdatasync"];
const WRITES = ["write", "pwrite64", "writev", "pwritev", "ftruncate"];

/** Each call that changes a file or makes it durable, with what may become of it. */
function faultsOf(counted: TracedRun): KillAt[] {
  return killPoints(counted).flatMap((point) =>
    // A sync that finds no space has lost what it was to make durable, as with EIO.
    (WRITES.includes(point.name) ? ["EIO", "ENOSPC"] : ["EIO"]).map((error) => ({ ...point, error })),
  );
}

interface Outcome {
  readonly code: number | null;
  readonly problem: string | undefined;
}

/** Makes each of the calls fail, with benches side by side, and judges what the command says and leaves. */
async function failEverywhere(target: KillCase): Promise<Outcome[]> {
  const benches = await Promise.all(Array.from({ length: LANES }, () => Bench.open(target)));
  try {
    const faults = await Promise.all(benches.map(async (bench) => faultsOf(await bench.run())));
    const queue = [...(faults[0] ?? []).keys()];
    const outcomes: Outcome[] = [];
    const work = async (bench: Bench, lane: number): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const fault = faults[lane]?.[next];
        assert.ok(fault);
        await bench.restore("start");
        outcomes.push(await judgeFault(bench, fault, await bench.run(fault), next % 8 === 0));
      }
    };
    await Promise.all(benches.map(work));
    return outcomes;
  } finally {
    await Promise.all(benches.map((bench) => bench.close()));
  }
}

async function judgeFault(
  bench: Bench,
  fault: KillAt,
  ended: TracedRun,
  withQemu: boolean,
): Promise<Outcome> {
  try {
    judgeWords(bench, ended);
    judgeSilence(fault, ended);
    const left = stateOf(bench);
    // Failed, nothing was changed: not a byte.
    if (ended.code === 1) assert.ok(left.bytes.equals(before(bench).bytes), "exit code 1, but changed");
    if (ended.code === 0) assert.ok(!left.fenced && isAfter(bench, left), "exit code 0, but not done");
    const { failed } = await recover(bench.journal, bench.paths);
    assert.deepEqual(failed, [], "recovery could not finish");
    const state = stateOf(bench);
    assert.ok(!state.fenced, "still fenced after the recovery");
    assert.equal(describeCheck(checkImage(state.bytes)), "clean");
    assert.ok(state.logical === before(bench).logical || isAfter(bench, state), "neither before nor after");
    if (withQemu) for (const path of bench.paths) await assertQemuIsContent(path);
    return { code: ended.code, problem: undefined };
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    const at = `${fault.error} at ${fault.name} ${fault.nth}`;
    return { code: ended.code, problem: `${at}: ${what}\nended with ${ended.code}: ${ended.stderr}` };
  }
}

const before = ({ images: [image] }: Bench): ImageState => {
  assert.ok(image);
  return image.before;
};

const stateOf = ({ paths: [path] }: Bench): ImageState => readState(path ?? "");

const isAfter = ({ images: [image] }: Bench, { bytes }: ImageState): boolean =>
  isDeepStrictEqual(visible(bytes), image?.after);

/** What a person reads: one line that names the file and says what is next, and never where in our source. */
function judgeWords(bench: Bench, { code, stderr }: TracedRun): void {
  assert.doesNotMatch(stderr, /^\s+at |internal error/m);
  assert.ok(code === 0 || code === 1 || code === 6, `ended with ${code}`);
  if (code === 0) return;
  assert.match(stderr, /^qcowal: .*\n$/);
  assert.ok(
    [bench.journal, ...bench.paths].some((path) => stderr.includes(path)),
    "names no file",
  );
  if (code === 1) assert.ok(stderr.includes("Nothing was changed"), "does not say that nothing was changed");
  else for (const part of ["qcowal recover", bench.journal, ...bench.paths]) assert.ok(stderr.includes(part));
}

/** The kernel may drop what a failed sync was to write: whoever writes or syncs again is told that all is well. */
function judgeSilence({ name, nth, error }: KillAt, { calls }: TracedRun): void {
  if (error !== "EIO" || !SYNCS.includes(name)) return;
  const at = calls.findIndex((call) => call.name === name && call.nth === nth);
  const path = calls[at]?.path;
  const later = calls.slice(at + 1).filter((call) => call.path === path);
  const touching = later.filter((call) => SYNCS.includes(call.name) || WRITES.includes(call.name));
  assert.deepEqual(touching, [], "wrote to a file whose sync had failed");
}

async function assertQemuIsContent(path: string): Promise<void> {
  const { code, stdout, stderr } = await run("qemu-img", ["check", path]);
  assert.equal(code, 0, `qemu-img check:\n${stderr}${stdout}`);
}

describe("a command of which any one write, sync or rename fails says what is, and recovery ends it:", () => {
  test.each([killCase("revert", "1.1 cluster 4K refcount 16")])(
    "$name",
    async (target) => {
      const outcomes = await failEverywhere(target);
      const codes = outcomes.map(({ code }) => code);
      const count = (code: number): number => codes.filter((each) => each === code).length;
      console.log(
        `${target.name}: ${codes.length} faults, exit code 0: ${count(0)}, 1: ${count(1)}, 6: ${count(6)}`,
      );
      expect(outcomes.flatMap(({ problem }) => problem ?? [])).toEqual([]);
      expect(count(1)).toBeGreaterThan(5);
      expect(count(6)).toBeGreaterThan(5);
    },
    10 * MINUTES,
  );
});
