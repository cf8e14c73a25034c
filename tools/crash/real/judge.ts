import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { assertRefused } from "../../../test/kill/lab/refusal.ts";
import { type ImageState, readState } from "../../../test/support/state.ts";
import { type Visible, visible } from "../../../test/support/model.ts";
import { checkImage, describeCheck } from "../../../test/support/naive-qcow2.ts";
import { run } from "../../../test/support/programs.ts";
import { assertNotWorse, conditionOf, damageIn } from "../condition.ts";
import { type Command, asProcess, inProcess, verifyJournal } from "./command.ts";

export interface Subject {
  readonly path: string;
  readonly before: ImageState;
  readonly after: Visible;
  /** First cluster after an undisturbed run: allocation does not depend on the clock. */
  readonly headerAfter: Buffer;
  /** Set when the image was damaged and the command repairs it. */
  readonly repair: { readonly hardens: boolean } | undefined;
}

export interface Scene {
  readonly journal: string;
  readonly subjects: readonly Subject[];
  /** The command that was cut. */
  readonly words: readonly string[];
}

export interface Verdict {
  readonly outcome: "before" | "after";
  readonly fenced: number;
  /** The status in `history`, "none" when the transaction never reached the journal. */
  readonly recorded: string;
}

const RECORDED = {
  before: ["none", "failed", "aborted by recovery"],
  after: ["done", "finished by recovery"],
} as const;

/**
 * Judges from outside what lies on the disk after a power cut. `thorough` also
 * asks qemu-img, starts the command as a process of its own, and tries whether
 * the interrupted command can be given again.
 */
export async function judge(scene: Scene, thorough: boolean): Promise<Verdict> {
  const command = thorough ? asProcess : inProcess;
  const paths = scene.subjects.map(({ path }) => path);
  const found = paths.map(readState);
  for (const [index, state] of found.entries()) {
    const subject = scene.subjects[index];
    assert.ok(subject !== undefined);
    if (subject.repair === undefined) assertOnlyLeaks(state);
    else assertNotWorse(conditionOf(subject.before.bytes), conditionOf(state.bytes));
    if (state.fenced && thorough) await assertRefused(paths[index] ?? "", state, false);
  }
  await recovered(command, scene.journal, paths);
  const states = paths.map(readState);
  const outcomes = scene.subjects.map((subject, index) => {
    const state = states[index];
    assert.ok(state !== undefined);
    return outcomeOf(subject, state);
  });
  const [outcome] = outcomes;
  assert.ok(
    outcome !== undefined && new Set(outcomes).size === 1,
    "one image is as before, another as after",
  );
  const again = await recovered(command, scene.journal, paths);
  assert.deepEqual(again, [], "a second recovery found something to do");
  for (const [index, path] of paths.entries())
    assert.ok(states[index]?.bytes.equals(readFileSync(path)), "a second recovery changed the image");
  const recorded = await lastRecorded(command, scene);
  assert.ok(
    RECORDED[outcome].some((one) => one === recorded),
    `as ${outcome}, but history says ${recorded}`,
  );
  const hasJournal = await verifies(scene.journal);
  const isSound = outcome === "after" || scene.subjects.every(({ repair }) => repair === undefined);
  if (thorough && isSound) for (const path of paths) await assertQemuFindsNothing(path);
  if (outcome === "before" && (thorough || !hasJournal)) await assertCanBeGivenAgain(command, scene);
  return { outcome, fenced: found.filter(({ fenced }) => fenced).length, recorded };
}

/** Without a fence anybody may use the image; behind it the journal's loss must not cost data. */
function assertOnlyLeaks(state: ImageState): void {
  const report = checkImage(state.bytes, { ignoreFence: true });
  if (!state.fenced) assert.equal(describeCheck(report), "clean", "not fenced, not clean");
  const worse = [...report.corruptions, ...report.overlaps].map(({ message }) => message);
  assert.deepEqual(worse, [], "more than leaks behind the fence");
}

async function recovered(
  command: Command,
  journal: string,
  paths: readonly string[],
): Promise<readonly unknown[]> {
  const { code, stdout, stderr } = await command("recover", "--json", "--journal", journal, ...paths);
  assert.equal(code, 0, `recover ended with ${code}: ${stderr}${stdout}`);
  return (JSON.parse(stdout) as { readonly recovered: readonly unknown[] }).recovered;
}

function outcomeOf(subject: Subject, state: ImageState): Verdict["outcome"] {
  const { before, after, headerAfter, repair } = subject;
  assert.ok(!state.fenced, "still fenced after the recovery");
  if (repair !== undefined) return outcomeOfRepair(subject, state, repair.hardens);
  assert.equal(describeCheck(checkImage(state.bytes)), "clean");
  if (state.logical === before.logical) {
    assert.ok(before.firstCluster.equals(state.firstCluster), "the header differs from that before");
    assert.equal(state.bytes.length, before.bytes.length, "length of the file");
    return "before";
  }
  const now = visible(state.bytes);
  assert.ok(isDeepStrictEqual(now, after), `neither as before nor as after: ${JSON.stringify(now)}`);
  assert.ok(headerAfter.equals(state.firstCluster), "the header differs from that after");
  return "after";
}

/** A user sees no difference: the damage says which it is. */
function outcomeOfRepair(
  { before, headerAfter }: Subject,
  state: ImageState,
  hardens: boolean,
): Verdict["outcome"] {
  assert.equal(state.logical, before.logical, "a repair changed what a user sees");
  const damage = damageIn(conditionOf(state.bytes), hardens);
  if (damage === "") {
    assert.ok(headerAfter.equals(state.firstCluster), "the header differs from that after");
    return "after";
  }
  assert.equal(damage, damageIn(conditionOf(before.bytes), hardens), "damaged otherwise than before");
  assert.ok(before.firstCluster.equals(state.firstCluster), "the header differs from that before");
  assert.equal(state.bytes.length, before.bytes.length, "length of the file");
  return "before";
}

interface HistoryEntry {
  readonly status: string;
  readonly reason?: string;
}

/** Of the transaction that was cut, which says so in its reason. */
async function lastRecorded(command: Command, { journal }: Scene): Promise<string> {
  const { code, stdout, stderr } = await command("history", "--json", "--journal", journal);
  if (code !== 0) {
    assert.match(stderr, /JOURNAL_NOT_FOUND/, "the history cannot be read");
    return "none";
  }
  const entries = JSON.parse(stdout) as readonly HistoryEntry[];
  return entries.find(({ reason }) => reason?.startsWith(CUT))?.status ?? "none";
}

/** How the reason begins that the cut command gives. */
export const CUT = "to be cut";

/** False when there is no journal: the cut came before it was made. */
async function verifies(journal: string): Promise<boolean> {
  try {
    return (await verifyJournal(journal)) > 0;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "JOURNAL_NOT_FOUND") return false;
    throw error;
  }
}

async function assertQemuFindsNothing(path: string): Promise<void> {
  const { code, stdout, stderr } = await run("qemu-img", ["check", path]);
  assert.equal(code, 0, `qemu-img check:\n${stderr}${stdout}`);
}

/** A cut must not leave a journal that refuses to be used. */
async function assertCanBeGivenAgain(command: Command, { subjects, words }: Scene): Promise<void> {
  const { code, stderr } = await command(...words);
  assert.equal(code, 0, `the command cannot be given again: ${stderr}`);
  for (const { path, after } of subjects) assert.deepEqual(visible(readFileSync(path)), after);
}
