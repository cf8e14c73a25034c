import fc from "fast-check";
import type { PrunableSnapshot, RetentionPolicy } from "../../src/retention/index.ts";

const HOUR = 3_600_000;
/** Each with changes of the clock at other times; one of them has half an hour of them, one is half an hour off. */
export const ZONES = [
  "UTC",
  "Europe/Berlin",
  "America/New_York",
  "Australia/Lord_Howe",
  "Asia/Kolkata",
] as const;

/** Snapshots of different seconds: hourly, daily or wild series, some of them in the future. */
export const histories = (now: number): fc.Arbitrary<PrunableSnapshot[]> =>
  fc
    .tuple(
      fc.constantFrom(HOUR / 4, HOUR, 5 * HOUR, 24 * HOUR, 40 * 24 * HOUR),
      fc.integer({ min: -2, max: 400 }),
      fc.uniqueArray(fc.integer({ min: 0, max: 40 * 3600 }), { minLength: 1, maxLength: 40, size: "max" }),
      fc.array(fc.tuple(fc.boolean(), fc.boolean(), fc.integer({ min: 0, max: 100 })), {
        minLength: 40,
        maxLength: 40,
      }),
    )
    .map(([step, age, places, more]) =>
      places.map((place, index): PrunableSnapshot => {
        const [isManual, isHeld, size] = more[index] ?? [false, false, 0];
        const time = Math.floor((now - age * 24 * HOUR - (place / 3600) * step) / 1000) * 1000;
        return {
          key: String(index),
          name: `${isManual ? "by-hand" : "auto"}-${index}`,
          time,
          auto: !isManual || index % 3 > 0,
          held: isHeld && index % 5 === 0,
          exclusiveBytes: size,
        };
      }),
    )
    .map((snapshots) => [...new Map(snapshots.map((one) => [one.time, one])).values()]);

const count = fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined, freq: 2 });
const duration = fc
  .record({ y: fc.nat(2), m: fc.nat(5), d: fc.nat(40), h: fc.nat(30) })
  .map(({ y, m, d, h }) => `${y}y${m}m${d}d${h}h`);
const rare = <Value>(value: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.option(value, { nil: undefined, freq: 2 });

const defined = <Fields extends object>(fields: Fields): Partial<Fields> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<Fields>;

/** Only what restic has, too. */
export const timePolicies: fc.Arbitrary<RetentionPolicy> = fc
  .record({
    keepLast: count,
    keepHourly: count,
    keepDaily: count,
    keepWeekly: count,
    keepMonthly: count,
    keepYearly: count,
    keepWithin: rare(duration),
  })
  .map((fields) => defined(fields) as RetentionPolicy)
  .filter((policy) => Object.values(policy).some((value) => typeof value === "number"));

export const policies: fc.Arbitrary<RetentionPolicy> = fc
  .tuple(
    timePolicies,
    fc.record({
      keepDaily: rare(fc.constant(-1)),
      minAge: rare(duration),
      maxSpace: rare(fc.integer({ min: 0, max: 800 })),
      keepName: rare(fc.constantFrom(["auto*"], ["by-hand*", "auto-1*"])),
      all: rare(fc.boolean()),
      timeZone: rare(fc.constantFrom(...ZONES)),
    }),
  )
  .map(([policy, more]) => ({ ...policy, ...defined(more) }) as RetentionPolicy);
