import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { assertNotWorse, conditionOf, damageIn } from "../../../tools/crash/condition.ts";
import { type Command, asProcess, inProcess } from "../../../tools/crash/real/command.ts";
import { visible } from "../../support/model.ts";
import { checkImage, describeCheck } from "../../support/naive-qcow2.ts";
import type { Bench, JudgedImage } from "./bench.ts";
import { run } from "../../support/programs.ts";
import type { HistoryOutput, RecoverOutput } from "../../support/command.ts";
import { assertRefused } from "./refusal.ts";
import { type ImageState, readState } from "../../support/state.ts";

export type Outcome = "before" | "after";

export interface Verdict {
  readonly outcome: Outcome;
  /** Images that the kill left fenced. */
  readonly fenced: number;
  /** What the record says: the status in `history`, "none" when the transaction never reached the journal. */
  readonly recorded: string;
}

const RECORDED: Readonly<Record<Outcome, readonly string[]>> = {
  before: ["none", "failed", "called off", "aborted by recovery"],
  after: ["done", "finished by recovery"],
};

let turn: Promise<unknown> = Promise.resolve();

/** In this process, where two lanes must not print at once. */
const inTurn: Command = (...args) => {
  const ended = turn.then(() => inProcess(...args));
  turn = ended.catch(() => undefined);
  return ended;
};

async function recover(command: Command, { journal, paths }: Bench): Promise<RecoverOutput> {
  const { code, stdout, stderr } = await command("recover", "--json", "--journal", journal, ...paths);
  assert.equal(code, 0, `recover ended with ${code}: ${stderr}${stdout}`);
  return JSON.parse(stdout) as RecoverOutput;
}

/** A kill may come before there is a journal to ask. */
async function history(command: Command, { journal }: Bench): Promise<readonly HistoryOutput[]> {
  const { code, stdout, stderr } = await command("history", "--json", "--journal", journal);
  if (code !== 0) {
    assert.match(stderr, /JOURNAL_NOT_FOUND/, "the history cannot be read");
    return [];
  }
  return JSON.parse(stdout) as readonly HistoryOutput[];
}

/**
 * Judges what a kill left, from outside: nobody can open it before the recovery,
 * and after it each image is clean, as before or as after the transaction, and
 * the record agrees. `headersAfter` are first clusters of an undisturbed run.
 * When `thorough`, all of qemu-img is tried on a fenced image, and recovery is
 * a process of its own: its start costs ten times what it does.
 */
export async function judge(
  bench: Bench,
  headersAfter: readonly Buffer[],
  thorough: boolean,
): Promise<Verdict> {
  let fenced = 0;
  for (const image of bench.images) {
    const { path } = image;
    const state = readState(path);
    if (image.repair !== undefined) assertNotWorse(conditionOf(image.before.bytes), conditionOf(state.bytes));
    if (!state.fenced) continue;
    fenced++;
    await assertRefused(path, state, thorough);
  }
  const command = thorough ? asProcess : inTurn;
  const { failed } = await recover(command, bench);
  assert.deepEqual(failed, [], "recovery could not finish");
  const states = bench.paths.map(readState);
  const outcomes = new Set<Outcome>();
  for (const [index, image] of bench.images.entries()) {
    const state = states[index];
    assert.ok(state);
    assert.ok(!state.fenced, "still fenced after the recovery");
    const outcome = image.repair === undefined ? outcomeOf(image, state) : outcomeOfRepair(image, state);
    // A repair that did not happen leaves the damage.
    if (image.repair === undefined || outcome === "after") await assertClean(image.path, state);
    outcomes.add(outcome);
    const header = outcome === "before" ? image.before.firstCluster : headersAfter[index];
    assert.ok(header?.equals(state.firstCluster), `the header differs from that ${outcome} the transaction`);
    if (outcome === "before")
      assert.equal(state.bytes.length, image.before.bytes.length, "length of the file");
  }
  const [outcome] = outcomes;
  assert.ok(outcome !== undefined && outcomes.size === 1, "one image is as before, another as after");
  await assertRecoveryIsQuiet(command, bench, states);
  const recorded = (await history(command, bench)).at(-1)?.status ?? "none";
  assert.ok(RECORDED[outcome].includes(recorded), `as ${outcome}, but history says ${recorded}`);
  return { outcome, fenced, recorded };
}

async function assertClean(path: string, state: ImageState): Promise<void> {
  assert.equal(describeCheck(checkImage(state.bytes)), "clean");
  const { code, stdout, stderr } = await run("qemu-img", ["check", path]);
  assert.equal(code, 0, `qemu-img check:\n${stderr}${stdout}`);
}

function outcomeOf({ before, after }: JudgedImage, state: ImageState): Outcome {
  if (state.logical === before.logical) return "before";
  const now = visible(state.bytes);
  assert.ok(
    isDeepStrictEqual(now, after),
    `neither as before nor as after:\n${JSON.stringify(now, null, 1)}`,
  );
  return "after";
}

/** A user sees no difference: the damage says which it is. */
function outcomeOfRepair({ before, repair }: JudgedImage, state: ImageState): Outcome {
  assert.equal(state.logical, before.logical, "a repair changed what a user sees");
  const hardens = repair?.hardens === true;
  const damage = damageIn(conditionOf(state.bytes), hardens);
  if (damage === "") return "after";
  assert.equal(damage, damageIn(conditionOf(before.bytes), hardens), "damaged otherwise than before");
  return "before";
}

async function assertRecoveryIsQuiet(
  command: Command,
  bench: Bench,
  states: readonly ImageState[],
): Promise<void> {
  const { recovered } = await recover(command, bench);
  assert.deepEqual(recovered, [], "a second recovery found something to do");
  for (const [index, path] of bench.paths.entries()) {
    const again = readState(path);
    assert.ok(states[index]?.bytes.equals(again.bytes), "a second recovery changed the image");
  }
}
