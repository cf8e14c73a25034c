import fc from "fast-check";
import { expect, test } from "vitest";
import { type PrunableSnapshot, type RetentionPolicy, applyPolicy } from "../../src/retention/index.ts";
import { clock, naiveKept } from "./naive-retention.ts";
import { histories, timePolicies } from "./random-history.ts";
import { ResticRepository } from "./restic-repository.ts";

/** So many histories, each under so many policies. */
const HISTORIES = 100;
const POLICIES = Number(process.env["QCOWAL_RESTIC_POLICIES"] ?? 6);
const ZONES = ["UTC", "Europe/Berlin"] as const;

/** With the offset of the zone: by that restic knows that it is local time. */
function rfc3339(time: number, zone: string): string {
  const wall = clock(time, zone).replace(" ", "T");
  const minutes = (Date.parse(`${wall}Z`) - Math.floor(time / 1000) * 1000) / 60_000;
  const two = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  return `${wall}${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
}

const sorted = (times: readonly number[]): number[] => times.toSorted((a, b) => a - b);

const flagsOf = (policy: RetentionPolicy): string[] =>
  Object.entries(policy).flatMap(([name, value]) => [
    `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    String(value),
  ]);

test.each(ZONES)(
  "restic keeps the same of a hundred random histories under each of several policies, in %s",
  async (zone) => {
    const now = Date.now();
    const seed = 20261125 + zone.length;
    const samples = fc
      .sample(histories(now), { numRuns: HISTORIES, seed })
      .map((snapshots) => snapshots.map((one): PrunableSnapshot => ({ ...one, auto: true, held: false })));
    await using repository = await ResticRepository.make(
      samples.flatMap((snapshots, host) =>
        snapshots.map(({ time }) => ({ host: `h${host}`, time: rfc3339(time, zone) })),
      ),
    );
    let removed = 0;
    for (const policy of fc.sample(timePolicies, { numRuns: Math.ceil(POLICIES / ZONES.length), seed })) {
      const kept = await repository.kept(zone, flagsOf(policy));
      expect(kept.size).toBe(HISTORIES);
      for (const [host, snapshots] of samples.entries()) {
        const wanted = sorted(kept.get(`h${host}`) ?? []);
        const name = `${JSON.stringify(policy)} on ${JSON.stringify(snapshots.map(({ time }) => time))}`;
        const ours = applyPolicy(snapshots, { ...policy, timeZone: zone }, now).filter(({ keep }) => keep);
        expect(sorted(ours.map(({ snapshot }) => snapshot.time)), name).toEqual(wanted);
        const naive = naiveKept(snapshots, policy, now, zone);
        const byOracle = snapshots.filter(({ key }) => naive?.has(key) === true).map(({ time }) => time);
        if (naive !== undefined) expect(sorted(byOracle), `the oracle: ${name}`).toEqual(wanted);
        removed += snapshots.length - wanted.length;
      }
    }
    expect(removed).toBeGreaterThan(300);
  },
);
