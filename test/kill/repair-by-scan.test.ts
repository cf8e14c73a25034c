import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { QcowalError } from "../../src/errors/index.ts";
import type { Operation } from "../../src/plan/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { expected, visible } from "../support/model.ts";
import { checkImage, describeCheck, inspectImage } from "../support/naive-qcow2.ts";
import { randomOperation } from "../support/random-operation.ts";
import { seededRandom } from "../support/random.ts";
import { type ImageState, stateOf } from "../support/state.ts";
import { type World, historyOf, newWorld, operate, recoverWorld, repairWorld } from "../support/world.ts";

const IMAGES = Number(process.env["QCOWAL_REPAIR_IMAGES"] ?? 60);
const SEED = Number(process.env["QCOWAL_SEED"] ?? 20_260_101);
const PATH = "/memory/a.qcow2";
const REFUSALS = ["REFCOUNT_OVERFLOW", "IMAGE_UNSUPPORTED", "LIMIT_EXCEEDED"];

const stateAt = (world: World): ImageState => stateOf(Buffer.from(world.images.get(PATH)?.bytes() ?? []));

interface Totals {
  images: number;
  kills: number;
  fenced: number;
  repairKills: number;
  before: number;
  after: number;
}

/** Kills one random operation at every event, throws the journal away, and repairs; now and then that is killed too. */
async function exploreImage(seed: number, totals: Totals): Promise<void> {
  const random = seededRandom(seed);
  const bytes = makeImage(randomSpec(random, { maxClusterBits: random.chance(0.9) ? 12 : 16 }));
  const operation = randomOperation(random, PATH, inspectImage(bytes).snapshots, "new");
  const start = newWorld({ [PATH]: bytes });
  const undisturbed = await operate(start, [operation]);
  const judge = judgeOf(stateAt(start), stateAt(undisturbed.world), operation);
  const lucky = 1 + random.int(30);
  totals.images += 1;
  for (let event = 1; event <= undisturbed.machine.events; event++) {
    const killed = await operate(start, [operation], event);
    const at = `seed ${seed}, killed at event ${event} of ${undisturbed.machine.events}`;
    totals.kills += 1;
    if (!stateAt(killed.world).fenced) continue;
    totals.fenced += 1;
    const repaired = await named(at, async () => repairWorld(killed.world));
    const outcome = await named(at, async () => Promise.resolve(judge(stateAt(repaired.world))));
    totals[outcome] += 1;
    const again = await repairWorld(repaired.world);
    assert.equal(again.machine.events, 0, `${at}: a second repair found something to do`);
    await named(at, () => judgeReappeared(killed.world, repaired.world, outcome));
    if (event !== lucky && event !== lucky + 7) continue;
    for (let cut = 1; cut <= repaired.machine.events; cut++) {
      const half = await repairWorld(killed.world, cut);
      await named(`${at}, repair killed at event ${cut}`, async () => {
        const state = stateAt(half.world);
        if (!state.fenced) judge(state);
        const finished = await repairWorld(half.world);
        assert.equal(judge(stateAt(finished.world)), outcome);
        await judgeFoundAgain(killed.world, half.world, judge);
      });
      totals.repairKills += 1;
    }
  }
}

function judgeOf(before: ImageState, after: ImageState, operation: Operation) {
  const visibleAfter = expected(visible(before.bytes), operation);
  return (state: ImageState): "before" | "after" => {
    assert.ok(!state.fenced, "still fenced");
    assert.equal(describeCheck(checkImage(state.bytes)), "clean");
    if (before.firstCluster.equals(state.firstCluster)) {
      assert.equal(state.logical, before.logical, "the header is as before, the contents are not");
      return "before";
    }
    assert.ok(after.firstCluster.equals(state.firstCluster), "the header is neither as before nor as after");
    assert.ok(isDeepStrictEqual(visible(state.bytes), visibleAfter), "the contents are not as after");
    return "after";
  };
}

/** The journal is found again when all is done: it writes nothing, and the record does not claim what did not happen. */
async function judgeReappeared(killed: World, repaired: World, outcome: string): Promise<void> {
  const world = { images: repaired.images, journal: killed.journal };
  const recovered = await recoverWorld(world);
  assert.ok(
    stateAt(recovered.world).bytes.equals(stateAt(repaired).bytes),
    "an old journal wrote to the image",
  );
  const status = (await historyOf(recovered.world)).at(-1)?.status ?? "none";
  const honest =
    outcome === "after" ? ["finished by recovery", "unconfirmed"] : ["aborted by recovery", "unconfirmed"];
  assert.ok(honest.includes(status), `as ${outcome}, but history says ${status}`);
}

/** The journal is found again in the middle of a repair: recovery stops, or leads to one of the two states. */
async function judgeFoundAgain(
  killed: World,
  half: World,
  judge: (state: ImageState) => unknown,
): Promise<void> {
  const world = { images: half.images, journal: killed.journal };
  try {
    judge(stateAt((await recoverWorld(world)).world));
  } catch (error) {
    if (!(error instanceof QcowalError) || error.code !== "FOREIGN_WRITE") throw error;
  }
}

async function named<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw new Error(`${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

describe("killed at any event, its journal thrown away and repaired by a scan", () => {
  test(
    "an image is clean, free, and wholly as before or wholly as after",
    async () => {
      const totals: Totals = { images: 0, kills: 0, fenced: 0, repairKills: 0, before: 0, after: 0 };
      for (let round = 0; round < IMAGES; round++) {
        try {
          await exploreImage(SEED + round, totals);
        } catch (error) {
          if (!(error instanceof QcowalError) || !REFUSALS.includes(error.code)) throw error;
        }
      }
      console.log(JSON.stringify(totals));
      expect(totals.images).toBeGreaterThan(IMAGES * 0.4);
      expect(totals.before).toBeGreaterThan(totals.images);
      expect(totals.after).toBeGreaterThan(totals.images);
      expect(totals.repairKills).toBeGreaterThan(totals.images);
    },
    5 * 60_000,
  );
});
