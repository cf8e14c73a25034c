import { describe, expect, test } from "vitest";
import { caseSeed } from "../../tools/crash/cases.ts";
import { Workers } from "../../tools/crash/workers.ts";
import { requireQemu } from "../support/qemu.ts";

/** Shares of the search, a test file each, so that every core has work. */
const SHARES = 4;
const STATES = Number(process.env["QCOWAL_CRASH_STATES"] ?? 100_400) / SHARES;
const SEED = Number(process.env["QCOWAL_SEED"] ?? 20_260_101);
const MINUTES = 60_000;

/** One share of the search: case after case until enough distinct states were seen. */
export function describeShare(share: number): void {
  describe("crashed at any point by a kill or a power cut, and recovered,", () => {
    test(
      `images are all as before or all as after: share ${share} of ${SHARES}`,
      async () => {
        await requireQemu();
        console.log(`seed ${SEED} (QCOWAL_SEED), share ${share} of ${SHARES}`);
        const workers = await Workers.open(1);
        const totals = {
          cases: 0,
          refused: 0,
          states: 0,
          ofRecoveries: 0,
          before: 0,
          after: 0,
          fenced: 0,
          repairs: 0,
          ofGroups: 0,
          ofTriples: 0,
          betweenFences: 0,
          betweenUnfences: 0,
          qemuJudged: 0,
          qemuRefused: 0,
        };
        const shapes = new Set<string>();
        try {
          for (let index = share - 1; totals.states < STATES; index += SHARES) {
            const answer = await workers.ask({ seed: caseSeed(SEED, index), cutRecoveries: undefined });
            if ("failure" in answer) throw new Error(answer.failure);
            const { result } = answer;
            totals.cases += 1;
            totals.qemuJudged += answer.qemuJudged;
            totals.qemuRefused += answer.qemuRefused;
            totals.states += result.crashes + result.recoveryCrashes;
            totals.ofRecoveries += result.recoveryCrashes;
            totals.before += result.before;
            totals.after += result.after;
            totals.fenced += result.fenced;
            totals.repairs += result.repairs;
            totals.betweenFences += result.betweenFences;
            totals.betweenUnfences += result.betweenUnfences;
            if (result.images > 1) totals.ofGroups += result.crashes + result.recoveryCrashes;
            if (result.images > 2) totals.ofTriples += result.crashes + result.recoveryCrashes;
            if (result.refused === undefined) shapes.add(result.shape);
            else totals.refused += 1;
          }
        } finally {
          workers.close();
        }
        console.log(JSON.stringify({ ...totals, shapes: shapes.size }));
        // A search that sees one kind of state only would prove little.
        for (const count of [
          totals.before,
          totals.after,
          totals.fenced,
          totals.repairs,
          totals.ofRecoveries,
        ]) {
          expect(count).toBeGreaterThan(totals.states / 50);
        }
        // All shares together are to see 20,000 states of groups.
        expect(totals.ofGroups).toBeGreaterThan(STATES / 5);
        expect(totals.ofTriples).toBeGreaterThan(STATES / 50);
        expect(totals.betweenFences).toBeGreaterThan(STATES / 1000);
        expect(totals.betweenUnfences).toBeGreaterThan(STATES / 1000);
        expect(shapes.size).toBeGreaterThan(STATES / 400);
        expect(totals.qemuJudged).toBeGreaterThanOrEqual(Math.floor(totals.states / 100));
        expect(totals.qemuRefused).toBeGreaterThan(0);
      },
      30 * MINUTES,
    );
  });
}
