import { describe, expect, test, vi } from "vitest";
import { caseSeed } from "../../tools/crash/cases.ts";
import { QemuSample } from "../../tools/crash/qemu-sample.ts";
import { runCase } from "../../tools/crash/run-case.ts";
import { requireQemu } from "../support/qemu.ts";

vi.mock("../../journal/record.ts", async (original) => {
  const real = await original<typeof import("../../journal/record.ts")>();
  const { once } = await import("./known-records.ts");
  return { ...real, decodeRecord: once(real.decodeRecord) };
});

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
        const qemu = await QemuSample.open();
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
        };
        const shapes = new Set<string>();
        try {
          for (let index = share - 1; totals.states < STATES; index += SHARES) {
            const result = await runCase(caseSeed(SEED, index), { sample: qemu.sample });
            totals.cases += 1;
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
          await qemu.close();
        }
        console.log(JSON.stringify({ ...totals, shapes: shapes.size, qemu: qemu.counts }));
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
        expect(qemu.counts.judged).toBeGreaterThanOrEqual(Math.floor(totals.states / 100));
        expect(qemu.counts.refused).toBeGreaterThan(0);
      },
      30 * MINUTES,
    );
  });
}
