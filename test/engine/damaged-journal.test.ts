import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, existsSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { mkdtemp, realpath } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Journal, openJournal } from "../../journal/index.ts";
import {
  type EngineContext,
  type Environment,
  currentActor,
  recoverPending,
  refuseRecoverable,
  repairByScan,
} from "../../src/engine/index.ts";
import { type QcowalError, isQcowalError } from "../../src/errors/index.ts";
import { decodeExtensions, decodeHeader, fenceOwner } from "../../src/format/index.ts";
import { type Step, openPool } from "../../src/index.ts";
import { type ImageSpec, writeImage } from "../../tools/image-maker/index.ts";
import { Machine, MachineDisk } from "../support/machine.ts";
import { type ImageState, stateOf } from "../support/state.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { seededRandom } from "../support/random.ts";

/** Truncations and flips of one saved journal. */
const SAMPLES = Number(process.env["QCOWAL_DAMAGE_SAMPLES"] ?? 100);
const SEED = Number(process.env["QCOWAL_SEED"] ?? 20_260_101);
const STEPS = ["reserve", "commit", "raise", "lower", "unfence", "settle"] as const satisfies readonly Step[];

const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 2 ** 19,
  snapshots: [{ name: "one", changes: [{ at: 0, count: 20, kind: "data", seed: 1 }] }],
  active: { changes: [{ at: 7, count: 30, kind: "data", seed: 3 }] },
};

/** What a person who has to decide can act on. */
const REFUSALS = ["JOURNAL_DAMAGED", "JOURNAL_NOT_FOUND", "NEEDS_RECOVERY", "FOREIGN_WRITE"];
const ACTOR = currentActor("test", undefined);

interface Saved {
  readonly image: Buffer;
  /** Copy of the journal's directory. */
  readonly journal: string;
  /** The newest log file of LevelDB in it. */
  readonly log: string;
}

let dir = "";
let path = "";
let before: ImageState;
let after: ImageState;
const saved = new Map<Step | "earlier", Saved>();

/** Opening LevelDB syncs: thousands of times that is slow on a disk. */
async function scratch(): Promise<string> {
  const root = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  return realpath(await mkdtemp(join(root, "qcowal-damage-")));
}

function save(name: Step | "earlier"): void {
  const journal = join(dir, `saved-${name}`);
  cpSync(join(dir, ".qcowal"), journal, { recursive: true });
  const [log = ""] = readdirSync(join(journal, "leveldb"))
    .filter((file) => file.endsWith(".log"))
    .toSorted()
    .toReversed();
  saved.set(name, { image: readFileSync(path), journal, log });
}

beforeAll(async () => {
  dir = await scratch();
  path = join(dir, "a.qcow2");
  await writeImage(path, SPEC);
  const pool = await openPool(join(dir, ".qcowal"));
  // Enough history that the log has several of LevelDB's blocks: damage in one then leaves a hole.
  for (let round = 0; round < 3; round++) {
    await pool.create(path, "nightly");
    if (round === 1) save("earlier");
    await pool.delete(path, "nightly");
  }
  before = stateOf(readFileSync(path));
  // Its plan is longer than a block, so that damage can also take a part out of its middle.
  const tables = Array.from(
    { length: 9 },
    (_, index) => ({ type: "create", image: path, name: `${index}` }) as const,
  );
  await pool.run([{ type: "revert", image: path, name: "one" }, ...tables], {
    onProgress: ({ step }) => {
      if (STEPS.some((known) => known === step)) save(step);
    },
  });
  after = stateOf(readFileSync(path));
  await pool.close();
});

afterAll(() => rmSync(dir, { recursive: true, force: true }));

function get(name: Step | "earlier"): Saved {
  const found = saved.get(name);
  assert.ok(found);
  return found;
}

/** An image file that outlives its processes, at the path that the journal knows. */
function environmentWith(file: MemoryDisk): Environment {
  return {
    openDisk: async () => Promise.resolve(new MachineDisk(new Machine(), file)),
    resolvePath: async (name) => Promise.resolve(name),
    fileId: async () => Promise.resolve({ device: 1, inode: 1 }),
    now: () => 0,
    program: "test",
  };
}

const verdicts = new Map<string, string>();

/** "fenced", or "before" or "after" of an image that is clean and free. */
function judged(bytes: Uint8Array): string {
  const key = createHash("sha256").update(bytes).digest("hex");
  const known = verdicts.get(key);
  if (known !== undefined) return known;
  const state = stateOf(Buffer.from(bytes));
  let verdict = "fenced";
  if (!state.fenced) {
    assert.equal(describeCheck(checkImage(state.bytes)), "clean");
    const fits = [before, after].find(({ firstCluster }) => firstCluster.equals(state.firstCluster));
    assert.ok(fits, "the header is neither as before nor as after");
    assert.equal(state.logical, fits.logical, "a mixture");
    verdict = fits === before ? "before" : "after";
  }
  verdicts.set(key, verdict);
  return verdict;
}

/** Where the chain breaks: whatever is appended must not hide it. */
async function breakOf(journal: Journal): Promise<unknown> {
  try {
    await journal.verify();
    return undefined;
  } catch (error) {
    assert.ok(isQcowalError(error, "JOURNAL_DAMAGED"));
    return error.details["sequence"];
  }
}

/** Recovers with this journal; a refusal is returned, everything else is thrown. */
async function recoverWith(context: EngineContext): Promise<QcowalError | undefined> {
  try {
    const { failed } = await recoverPending(context, [path], { actor: ACTOR });
    return failed[0]?.error;
  } catch (error) {
    if (isQcowalError(error)) return error;
    throw error;
  }
}

/** One damaged journal against the image it fenced; returns what became of it. */
async function confront(image: Buffer, journalDir: string): Promise<string> {
  const file = new MemoryDisk(image, { path });
  const environment = environmentWith(file);
  let journal: Journal | undefined;
  let refusal: QcowalError | undefined;
  try {
    journal = await openJournal(journalDir, { create: false, waitMs: 0 });
  } catch (error) {
    assert.ok(isQcowalError(error), String(error));
    refusal = error;
  }
  if (journal !== undefined) {
    const broken = await breakOf(journal);
    refusal = await recoverWith({ journal, environment });
    assert.equal(await breakOf(journal), broken, "the damage is hidden, or has grown");
  }
  if (refusal === undefined) {
    const outcome = judged(file.bytes());
    assert.notEqual(outcome, "fenced");
    await journal?.close();
    return outcome;
  }
  assert.ok(REFUSALS.includes(refusal.code), `${refusal.code}: ${refusal.message}`);
  assert.ok(Buffer.from(file.bytes()).equals(image), "refused, but the image was changed");
  if (stateOf(image).fenced) {
    const header = decodeHeader(image.subarray(0, 112));
    const owner = fenceOwner(decodeExtensions(image.subarray(0, 4096), header));
    // The way out that the message names must be open.
    if (journal !== undefined)
      await refuseRecoverable({ journal, environment }, path, owner, { actor: ACTOR });
    await repairByScan(environment, path, { actor: ACTOR }, journal);
    assert.notEqual(judged(file.bytes()), "fenced");
  }
  await journal?.close();
  return refusal.code;
}

async function damagedCopy(
  { journal, log }: Saved,
  damage: (file: string) => void,
): Promise<{ readonly journal: string }> {
  const copy = join(dir, "damaged");
  rmSync(copy, { recursive: true, force: true });
  cpSync(journal, copy, { recursive: true });
  damage(join(copy, "leveldb", log));
  return Promise.resolve({ journal: copy });
}

/** Every position, or an even sample of them with a random start; the end is always looked at closely. */
function positions(length: number): number[] {
  const stride = Math.max(1, Math.ceil(length / (SAMPLES * 0.7)));
  const start = seededRandom(SEED).int(stride);
  const dense = Math.ceil(SAMPLES * 0.3);
  const chosen = new Set<number>();
  for (let at = start; at < length; at += stride) chosen.add(at);
  for (let at = Math.max(0, length - dense); at < length; at++) chosen.add(at);
  return [...chosen].toSorted((a, b) => a - b);
}

async function tally(
  step: Step,
  damage: (file: string, bytes: Buffer, at: number) => void,
): Promise<Record<string, number>> {
  const source = get(step);
  const bytes = readFileSync(join(source.journal, "leveldb", source.log));
  const totals: Record<string, number> = {};
  for (const at of positions(bytes.length)) {
    const { journal } = await damagedCopy(source, (file) => damage(file, bytes, at));
    try {
      const outcome = await confront(source.image, journal);
      totals[outcome] = (totals[outcome] ?? 0) + 1;
    } catch (cause) {
      throw new Error(`byte ${at} of ${bytes.length}: ${String(cause)}`, { cause });
    }
  }
  return totals;
}

describe.each(STEPS)("the journal of an image that was killed at %s:", (step) => {
  test("as it was, it leads to before or after", async () => {
    const { journal } = await damagedCopy(get(step), () => undefined);
    expect(["before", "after"]).toContain(await confront(get(step).image, journal));
  });

  test("its log cut off anywhere", async () => {
    const totals = await tally(step, (file, _bytes, at) => truncateSync(file, at));
    console.log(step, "cut off:", JSON.stringify(totals));
    expect(totals["NEEDS_RECOVERY"] ?? totals["before"] ?? totals["after"]).toBeGreaterThan(0);
  });

  test("any byte of its log changed", async () => {
    const totals = await tally(step, (file, bytes, at) => {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      writeFileSync(file, changed);
    });
    console.log(step, "changed:", JSON.stringify(totals));
    // A hole in the plan of the transaction itself: before the commit it could be the end that a power cut tore.
    const isDecided = STEPS.indexOf(step) > STEPS.indexOf("commit");
    expect(totals[isDecided ? "JOURNAL_DAMAGED" : "NEEDS_RECOVERY"]).toBeGreaterThan(0);
  });
});

describe("the error says what is wrong with the journal, and what to do", () => {
  const refusalOf = async (journalDir: string, image: string): Promise<QcowalError> => {
    const file = new MemoryDisk(get("lower").image, { path: image });
    const journal = await openJournal(journalDir, { create: false });
    try {
      const context = { journal, environment: environmentWith(file) };
      await recoverPending(context, [image], { actor: ACTOR });
    } catch (error) {
      assert.ok(isQcowalError(error, "NEEDS_RECOVERY"));
      expect(Buffer.from(file.bytes()).equals(get("lower").image)).toBe(true);
      return error;
    } finally {
      await journal.close();
    }
    throw new Error("nothing was refused");
  };

  test("an older copy, and the same after it was used again", async () => {
    const { journal } = await damagedCopy(get("earlier"), () => undefined);
    const { message } = await refusalOf(journal, path);
    expect(message).toMatch(/transaction \d+ of the journal .*\.qcowal/);
    expect(message).toContain(`The journal in ${journal} has lost its record of it: it is an older copy`);
    expect(message).toContain(`qcowal repair --without-journal ${path}`);
    const other = join(dir, "b.qcow2");
    await writeImage(other, SPEC);
    const pool = await openPool(journal);
    for (let round = 0; round < 12; round++) await pool.create(other, `again ${round}`);
    await pool.close();
    expect((await refusalOf(journal, path)).message).toContain("has lost its record of it");
  });

  test("a copy of image and journal", async () => {
    const { journal } = await damagedCopy(get("lower"), () => undefined);
    const { message } = await refusalOf(journal, join(dir, "copy.qcow2"));
    expect(message).toContain(`has it pending for ${path}: this image is a copy`);
  });

  test("a journal that has recorded the end of it", async () => {
    expect((await refusalOf(join(dir, ".qcowal"), path)).message).toContain(
      "says that this transaction has ended",
    );
  });

  test("another journal in its place, and one that has lost every record", async () => {
    const { journal } = await damagedCopy(get("lower"), (file) => truncateSync(file, 0));
    for (const create of [true, true, false]) {
      await expect(openJournal(journal, { create })).rejects.toMatchObject({
        code: "JOURNAL_DAMAGED",
        message: expect.stringMatching(/has lost its records.*repair --without-journal/),
      });
    }
  });
});
