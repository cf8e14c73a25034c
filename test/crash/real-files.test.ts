import { beforeAll, describe, expect, test } from "vitest";
import { CRASH_CASES, REPAIR_CASES, type ShapeName, VERBS } from "../../tools/crash/real/cases.ts";
import { judgePeer } from "../../tools/crash/real/peer.ts";
import { runCases } from "../../tools/crash/real/run-cases.ts";
import { requireStrace } from "../kill/lab/strace.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { requireQemu } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";

const SEED = Number(process.env["QCOWAL_SEED"] ?? 20_260_101);
/** Of each run and each recovery. */
const STATES = Number(process.env["QCOWAL_REAL_STATES"] ?? 100);
const MINUTES = 60_000;

beforeAll(async () => {
  await requireQemu();
  await requireStrace();
  requireBuiltCommand();
});

test(
  "whatever a power cut loses or tears of image and journal, the command recovers all or nothing",
  async () => {
    console.log(`seed ${SEED} (QCOWAL_SEED)`);
    const reports = await runCases(CRASH_CASES, SEED, {
      states: STATES,
      thoroughEvery: 50,
    });
    let [states, thorough] = [0, 0];
    for (const report of reports) {
      const { name, events, problems, ...counts } = report;
      console.log(
        `${name}: ${events} events, ${counts.states} of ${counts.found} states, ${counts.recoveryStates} of them of recoveries, ` +
          `${counts.fenced} fenced, ${counts.before} as before, ${counts.after} as after, ${counts.thorough} thoroughly`,
      );
      states += counts.states;
      thorough += counts.thorough;
      expect(problems).toEqual([]);
      expect(counts.before).toBeGreaterThan(0);
      expect(counts.after).toBeGreaterThan(0);
      expect(counts.fenced).toBeGreaterThan(0);
    }
    console.log(`${states} distinct states, ${thorough} of them with processes and qemu-img`);
    if (STATES >= 100) {
      expect(states).toBeGreaterThan(2000);
      expect(thorough).toBeGreaterThan(states / 100);
    }
  },
  20 * MINUTES,
);

test(
  "a repair of real files, cut anywhere, is whole or never was, and on its way makes nothing worse",
  async () => {
    const reports = await runCases(REPAIR_CASES, SEED, { states: 0.4 * STATES, thoroughEvery: 50 });
    for (const { name, problems, ...counts } of reports) {
      console.log(`${name}: ${JSON.stringify(counts)}`);
      expect(problems).toEqual([]);
      expect(counts.before).toBeGreaterThan(0);
      expect(counts.after).toBeGreaterThan(0);
      expect(counts.fenced).toBeGreaterThan(0);
    }
  },
  20 * MINUTES,
);

describe("the same power cuts in qemu-img snapshot are seen by the same judge:", () => {
  test.each<ShapeName>(["v3 64K", "v2 4K"])("%s", async (shape) => {
    for (const [index, verb] of VERBS.entries()) {
      const report = await judgePeer(shape, verb, seededRandom(SEED + index), { states: 100 });
      console.log(`seed ${SEED}: qemu-img, ${verb} on ${shape}: ${JSON.stringify(report)}`);
      expect(report.disagreed).toEqual([]);
      expect(report.states).toBeGreaterThan(10);
      expect(report.clean).toBeLessThan(report.states);
    }
  });
});
