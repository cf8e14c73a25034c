import { beforeAll, describe, expect, test } from "vitest";
import { requireQemu } from "../support/qemu.ts";
import { ALL_CASES, ALL_REPAIR_CASES, CASES, REPAIR_CASES, killCase } from "./lab/cases.ts";
import type { KillCase } from "./lab/bench.ts";
import { type KillReport, killEverywhere, killRecoveryEverywhere } from "./lab/kills.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { requireStrace } from "./lab/strace.ts";

const ALL = process.env["QCOWAL_KILL_ALL"] === "1";
const MINUTES = 60_000;

function problemsOf({ points }: KillReport): string[] {
  return points.flatMap(({ at, problem }) => (problem === undefined ? [] : [`${at}: ${problem}`]));
}

beforeAll(async () => {
  await requireQemu();
  await requireStrace();
  requireBuiltCommand();
}, 2 * MINUTES);

/** Of the calls a sample: what lies in between is among the states of test/crash/real-files.test.ts. */
const EVERY = ALL ? 1 : 6;

async function expectNoProblem(target: KillCase, every = EVERY): Promise<void> {
  const report = await killEverywhere(target, { every });
  console.log(`${target.name}: ${report.distinct} kill points`);
  expect(problemsOf(report)).toEqual([]);
  expect(report.distinct).toBe(report.points.length - 1);
  expect(report.survived).toBe(1);
  const outcomes = new Set(report.points.map(({ verdict }) => verdict?.outcome));
  expect(outcomes).toEqual(new Set(["before", "after"]));
  expect(report.points.some(({ verdict }) => (verdict?.fenced ?? 0) > 0)).toBe(true);
}

describe("killed at every write and sync, and recovered, the image is as before or as after:", () => {
  test.each(ALL ? ALL_CASES : CASES)("$name", (target) => expectNoProblem(target), 20 * MINUTES);
});

describe("a repair that is killed, and recovered, has mended all of the damage or none:", () => {
  const every = ALL ? 1 : 8;
  test.each(ALL ? ALL_REPAIR_CASES : REPAIR_CASES)(
    "$name",
    (target) => expectNoProblem(target, every),
    20 * MINUTES,
  );
});

describe("killed again at every write and sync of the recovery, the next recovery finishes:", () => {
  test.each([
    killCase("revert", "1.1 cluster 4K refcount 16"),
    killCase("create", "1.1 cluster 512 refcount 16", "0.10 cluster 4K refcount 16"),
  ])(
    "$name",
    async (target) => {
      const reports = await killRecoveryEverywhere(
        target,
        ALL ? [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] : [0.75],
        { every: EVERY },
      );
      for (const report of reports) {
        expect(problemsOf(report)).toEqual([]);
        expect(report.survived).toBe(1);
      }
      console.log(`${target.name}: ${reports.map(({ distinct }) => distinct).join(" + ")} kill points`);
    },
    20 * MINUTES,
  );
});
