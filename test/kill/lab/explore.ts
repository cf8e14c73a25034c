import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import type { Operation } from "../../../src/plan/index.ts";
import { type Visible, expected, visible } from "../../support/model.ts";
import { checkImage, describeCheck } from "../../support/naive-qcow2.ts";
import { type ImageState, stateOf } from "../../support/state.ts";
import { type World, historyOf, operate, recoverWorld } from "../../support/world.ts";

export interface Exploration {
  /** Kills of the operation, and of recoveries. */
  readonly kills: number;
  readonly recoveryKills: number;
}

interface Subject {
  readonly path: string;
  readonly before: ImageState;
  readonly after: Visible;
  readonly firstClusterAfter: Buffer;
}

const stateAt = (world: World, path: string): ImageState => {
  const file = world.images.get(path);
  assert.ok(file);
  return stateOf(Buffer.from(file.bytes()));
};

/**
 * Kills the transaction at every event, and for some of those kills (chosen by
 * `cutRecovery`) the recovery at every event, and judges each. Throws an
 * assertion error that names the kill.
 */
export async function explore(
  start: World,
  operations: readonly Operation[],
  cutRecovery: (event: number, of: number) => boolean,
): Promise<Exploration> {
  const undisturbed = await operate(start, operations);
  const subjects = [...start.images.keys()].map((path): Subject => {
    const before = stateAt(start, path);
    const own = operations.filter(({ image }) => image === path);
    const { firstCluster } = stateAt(undisturbed.world, path);
    return {
      path,
      before,
      after: own.reduce(expected, visible(before.bytes)),
      firstClusterAfter: firstCluster,
    };
  });
  const total = undisturbed.machine.events;
  let recoveryKills = 0;
  for (let event = 1; event <= total + 1; event++) {
    const killed = await operate(start, operations, event);
    const where = `killed at event ${event} of ${total}`;
    naming(where, () => judgeUnrecovered(subjects, killed.world));
    await namingAsync(where, () => judgeRecovered(subjects, killed.world));
    if (!cutRecovery(event, total)) continue;
    const { machine } = await recoverWorld(killed.world);
    for (let cut = 1; cut <= machine.events; cut++) {
      const again = await recoverWorld(killed.world, cut);
      await namingAsync(`${where}, recovery killed at event ${cut}`, async () => {
        judgeUnrecovered(subjects, again.world);
        await judgeRecovered(subjects, again.world);
      });
      recoveryKills++;
    }
  }
  return { kills: total, recoveryKills };
}

/**
 * Behind the fence there are at most leaks, so that the journal's loss would
 * cost no data; without a fence the image is wholly before or wholly after,
 * because anybody may write to it now.
 */
function judgeUnrecovered(subjects: readonly Subject[], world: World): void {
  for (const subject of subjects) {
    const state = stateAt(world, subject.path);
    outcomeOf(subject, state);
    const report = checkImage(state.bytes, { ignoreFence: true });
    if (!state.fenced) assert.equal(describeCheck(report), "clean", "not fenced, not clean");
    const worse = [...report.corruptions, ...report.overlaps].map(({ message }) => message);
    assert.deepEqual(worse, [], "more than leaks behind the fence");
  }
}

async function judgeRecovered(subjects: readonly Subject[], world: World): Promise<void> {
  const recovered = await recoverWorld(world);
  const outcomes = new Set<string>();
  for (const subject of subjects) {
    const state = stateAt(recovered.world, subject.path);
    assert.ok(!state.fenced, "still fenced after the recovery");
    assert.equal(describeCheck(checkImage(state.bytes)), "clean");
    const outcome = outcomeOf(subject, state);
    if (outcome !== "both") outcomes.add(outcome);
    const before = subject.before.firstCluster.equals(state.firstCluster);
    const after = subject.firstClusterAfter.equals(state.firstCluster);
    assert.ok(before ? outcome !== "after" : after && outcome !== "before", "the header fits the outcome");
    if (before && !after) assert.equal(state.bytes.length, subject.before.bytes.length, "length of the file");
    const untouched = stateAt(world, subject.path);
    if (!untouched.fenced) assertOnlyHeaderChanged(untouched, state);
  }
  assert.ok(outcomes.size <= 1, "one image is as before, another as after");
  await judgeRecord(recovered.world, [...outcomes][0]);
  const second = await recoverWorld(recovered.world);
  assert.equal(second.machine.events, 0, "a second recovery found something to do");
}

function outcomeOf({ before, after }: Subject, state: ImageState): "before" | "after" | "both" {
  const now = visible(state.bytes, true);
  const isBefore = state.logical === before.logical;
  const isAfter = isDeepStrictEqual(now, after);
  assert.ok(isBefore || isAfter, `neither as before nor as after: ${JSON.stringify(now)}`);
  return isBefore && isAfter ? "both" : isBefore ? "before" : "after";
}

/** Others may have written since the fence went: recovery may clear what is left of its explanation, no more. */
function assertOnlyHeaderChanged(was: ImageState, is: ImageState): void {
  const size = was.firstCluster.length;
  assert.ok(
    was.bytes.subarray(size).equals(is.bytes.subarray(size)),
    "recovery wrote to an image without a fence",
  );
}

async function judgeRecord(world: World, outcome: string | undefined): Promise<void> {
  const status = (await historyOf(world)).at(-1)?.status ?? "none";
  assert.notEqual(status, "pending");
  const finished = status === "done" || status === "finished by recovery";
  if (outcome !== undefined) assert.equal(finished, outcome === "after", `the record says ${status}`);
}

function naming(where: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    throw named(where, error);
  }
}

async function namingAsync(where: string, action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    throw named(where, error);
  }
}

const named = (where: string, cause: unknown): Error =>
  new Error(`${where}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
