import { expect, test } from "vitest";
import { QcowalError } from "../../src/errors/index.ts";
import type { Operation } from "../../src/plan/index.ts";
import { caseSeed, crashCase } from "../../tools/crash/cases.ts";
import { explore } from "../../tools/crash/explore.ts";
import { checkImage } from "../support/naive-qcow2.ts";
import { spoiled } from "../support/spoiled.ts";
import { newWorld } from "../support/world.ts";

const STATES = Number(process.env["QCOWAL_REPAIR_STATES"] ?? 2000);
const SEED = Number(process.env["QCOWAL_SEED"] ?? 20_260_101);

test(
  "a repair, crashed at any point by a kill or a power cut, and recovered, is whole or never was",
  async () => {
    console.log(`seed ${SEED} (QCOWAL_SEED)`);
    const totals = { cases: 0, states: 0, ofRecoveries: 0, before: 0, after: 0, fenced: 0, repairs: 0 };
    for (let index = 0; totals.states < STATES; index += 1) {
      const seed = caseSeed(SEED, 1_000_000 + index);
      const { images, random, name } = crashCase(seed);
      const worse = Object.entries(images).map(([path, bytes]) => [path, spoiled(bytes, random)] as const);
      if (worse.every(([, bytes]) => checkImage(bytes).clean)) continue;
      const operations = worse.map(([image]): Operation => ({
        type: "repair",
        image,
        harden: random.chance(0.3),
      }));
      const limits = { all: 32, tears: 2, samples: 6 };
      try {
        const { crashes, recoveryCrashes, before, after, fenced, repairs } = await explore(
          newWorld(Object.fromEntries(worse)),
          operations,
          { random, limits, cutRecoveries: 3, repair: 0.1, damaged: true },
        );
        totals.cases += 1;
        totals.states += crashes + recoveryCrashes;
        totals.ofRecoveries += recoveryCrashes;
        totals.before += before;
        totals.after += after;
        totals.fenced += fenced;
        totals.repairs += repairs;
      } catch (cause) {
        if (cause instanceof QcowalError && cause.code === "REFCOUNT_OVERFLOW") continue;
        throw new Error(`repair of case ${seed} (${name})`, { cause });
      }
    }
    console.log(JSON.stringify(totals));
    for (const count of [totals.before, totals.after, totals.fenced, totals.ofRecoveries]) {
      expect(count).toBeGreaterThan(totals.states / 50);
    }
  },
  10 * 60_000,
);
