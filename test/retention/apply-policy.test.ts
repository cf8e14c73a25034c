import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type PrunableSnapshot, type RetentionPolicy, applyPolicy } from "../../src/retention/index.ts";
import { naiveKept } from "./naive-retention.ts";
import { histories, policies } from "./random-history.ts";

const NOW = Date.parse("2026-11-25T12:00:00Z");

/** Automatic snapshots that are named by their times. */
const at = (...times: readonly string[]): PrunableSnapshot[] =>
  times.map((time) => ({ key: time, name: time, time: Date.parse(time), auto: true }));

function kept(snapshots: readonly PrunableSnapshot[], policy: RetentionPolicy, now = NOW): string[] {
  return applyPolicy(snapshots, { timeZone: "UTC", ...policy }, now)
    .filter(({ keep }) => keep)
    .map(({ snapshot }) => snapshot.key);
}

const reasons = (snapshots: readonly PrunableSnapshot[], policy: RetentionPolicy): string[] =>
  applyPolicy(snapshots, { timeZone: "UTC", ...policy }, NOW).map(({ reasons: words }) => words.join(", "));

describe("a keep rule", () => {
  const days = at("2026-11-22T08:00Z", "2026-11-23T08:00Z", "2026-11-24T08:00Z", "2026-11-24T20:00Z");

  test("counts from the newest, and says which one of how many", () => {
    expect(reasons(days, { keepLast: 1, keepDaily: 2, keepWeekly: 5 })).toEqual([
      "weekly 2 of 5: 2026-W47",
      "daily 2 of 2: 2026-11-23",
      "no rule keeps it",
      "last 1 of 1, daily 1 of 2: 2026-11-24, weekly 1 of 5: 2026-W48",
    ]);
  });

  test("with -1 keeps one of each, with 0 none", () => {
    expect(kept(days, { keepDaily: -1 })).toEqual([
      "2026-11-22T08:00Z",
      "2026-11-23T08:00Z",
      "2026-11-24T20:00Z",
    ]);
    expect(kept(days, { keepDaily: 0, keepLast: 1 })).toEqual(["2026-11-24T20:00Z"]);
    expect(reasons(days, { keepLast: -1 })[0]).toBe("last 4");
  });

  test("counts a day without snapshots for nothing", () => {
    expect(kept(at("2026-01-01T00:00Z", "2026-05-01T00:00Z", "2026-11-01T00:00Z"), { keepDaily: 2 })).toEqual(
      ["2026-05-01T00:00Z", "2026-11-01T00:00Z"],
    );
  });

  test("takes the later one in the list for the newer one of two that are as old", () => {
    const twins = at("2026-11-24T08:00Z", "2026-11-24T08:00Z").map((one, index) => ({
      ...one,
      key: String(index),
    }));
    expect(kept(twins, { keepLast: 1 })).toEqual(["1"]);
  });
});

describe("the calendar", () => {
  test.each([
    // Autumn in Berlin: 02:30 is twice, in one hour of the clock, in one day of 25 hours.
    ["Europe/Berlin", "keepHourly", ["2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-25T02:30Z"], 2],
    ["UTC", "keepHourly", ["2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-25T02:30Z"], 3],
    // 23:30 UTC is the next day in Berlin, in another month, another year, another ISO week.
    ["Europe/Berlin", "keepMonthly", ["2026-10-31T22:30Z", "2026-10-31T23:30Z"], 2],
    ["UTC", "keepMonthly", ["2026-10-31T22:30Z", "2026-10-31T23:30Z"], 1],
    ["Europe/Berlin", "keepYearly", ["2025-12-31T22:30Z", "2025-12-31T23:30Z"], 2],
    // A leap day is a day.
    ["UTC", "keepDaily", ["2024-02-28T12:00Z", "2024-02-29T12:00Z", "2024-03-01T12:00Z"], 3],
    // ISO weeks: 2021-01-03 is a Sunday of 2020-W53, 2024-12-30 a Monday of 2025-W01.
    ["UTC", "keepWeekly", ["2020-12-28T00:00Z", "2021-01-03T23:59Z", "2021-01-04T00:00Z"], 2],
    ["UTC", "keepWeekly", ["2024-12-29T12:00Z", "2024-12-30T12:00Z", "2025-01-05T12:00Z"], 2],
    ["Australia/Lord_Howe", "keepDaily", ["2026-04-04T12:59Z", "2026-04-04T13:01Z"], 2],
  ] as const)("of %s: %s of %j keeps %i", (timeZone, rule, times, count) => {
    expect(kept(at(...times), { timeZone, [rule]: 9 })).toHaveLength(count);
  });

  test("names ISO weeks by their own year", () => {
    expect(reasons(at("2021-01-03T23:59Z", "2024-12-30T12:00Z"), { keepWeekly: 5 })).toEqual([
      "weekly 2 of 5: 2020-W53",
      "weekly 1 of 5: 2025-W01",
    ]);
  });

  test("knows years before our era and seconds that are not whole", () => {
    const [verdict] = applyPolicy(
      [{ key: "a", name: "a", time: -1, auto: true }],
      { keepDaily: 1, timeZone: "UTC" },
      NOW,
    );
    expect(verdict?.reasons).toEqual(["daily 1 of 1: 1969-12-31"]);
  });
});

describe("keepWithin", () => {
  test.each([
    // A month back from the 31st of March is the "31st of February": the 3rd of March, or the 2nd in a leap year.
    ["2026-03-31T00:00Z", "1m", "2026-03-03T00:00Z"],
    ["2024-03-31T00:00Z", "1m", "2024-03-02T00:00Z"],
    ["2024-02-29T00:00Z", "1y", "2023-03-01T00:00Z"],
    ["2026-11-24T10:00Z", "1y5m7d2h", "2025-06-17T08:00Z"],
  ])("of what is newest, %s, %s keeps what is younger than %s", (newest, keepWithin, limit) => {
    const time = Date.parse(limit);
    const around = [-1000, 0, 1000].map((more) => new Date(time + more).toISOString());
    expect(kept(at(...around, newest), { keepWithin })).toEqual([around[2], newest]);
  });

  test("is a matter of the calendar where the clock changes", () => {
    const times = ["2026-10-24T09:30:00Z", "2026-10-24T10:30:00Z", "2026-10-25T11:00:00Z"];
    expect(kept(at(...times), { keepWithin: "1d", timeZone: "Europe/Berlin" })).toEqual(times.slice(1));
    expect(kept(at(...times), { keepWithin: "24h", timeZone: "Europe/Berlin" })).toEqual(times.slice(2));
  });

  test("does not measure from the future", () => {
    expect(
      kept(at("2026-11-01T00:00Z", "2026-11-24T00:00Z", "2040-01-01T00:00Z"), { keepWithin: "2d" }),
    ).toEqual(["2026-11-24T00:00Z", "2040-01-01T00:00Z"]);
  });
});

describe("whatever the rules say,", () => {
  const [old, young] = at("2020-01-01T00:00Z", "2026-11-25T11:00Z") as [PrunableSnapshot, PrunableSnapshot];

  test("what a person took stays and is not counted, unless the policy is for all", () => {
    const byHand = { ...young, auto: false };
    expect(reasons([old, byHand], { keepLast: 1 })).toEqual(["last 1 of 1", "not automatic"]);
    expect(reasons([old, byHand], { keepLast: 1, all: true })).toEqual(["no rule keeps it", "last 1 of 1"]);
  });

  test("a hold, a name and a minimal age keep, and count", () => {
    expect(reasons([{ ...old, held: true }, young], { keepLast: 1 })).toEqual(["hold", "last 1 of 1"]);
    expect(reasons([{ ...old, name: "before-x" }, young], { keepLast: 1, keepName: ["before-*"] })).toEqual([
      "name like before-*",
      "last 1 of 1",
    ]);
    expect(reasons([young, { ...young, key: "b" }], { keepLast: 1, minAge: "2h" })).toEqual([
      "younger than 2h",
      "younger than 2h, last 1 of 1",
    ]);
  });

  test("patterns mean the whole name, and only * and ? are special", () => {
    const names = ["a.c", "abc", "a.cd", "x*y", "xzy", "a\nc"];
    const named = names.map((name) => ({ ...old, name, key: name }));
    expect(kept(named, { keepName: ["a.c"] })).toEqual(["a.c"]);
    expect(kept(named, { keepName: ["a?c"] })).toEqual(["a.c", "abc", "a\nc"]);
    expect(kept(named, { keepName: [String.raw`x\*y`] })).toEqual(["x*y"]);
    expect(kept(named, { keepName: ["a.c*", "[x]*"] })).toEqual(["a.c", "a.cd"]);
  });
});

describe("maxSpace", () => {
  const sized = at("2026-11-21T00:00Z", "2026-11-22T00:00Z", "2026-11-23T00:00Z", "2026-11-24T00:00Z").map(
    (one) => ({
      ...one,
      exclusiveBytes: 10,
    }),
  );

  test("alone keeps all that there is space for; the oldest go first", () => {
    expect(reasons(sized, { maxSpace: 20 })).toEqual([
      "the oldest, and 40 bytes are more than 20",
      "the oldest, and 30 bytes are more than 20",
      "there is space for it",
      "there is space for it",
    ]);
    expect(kept(sized, { maxSpace: "40" })).toHaveLength(4);
  });

  test("takes of what count and duration keep, not of what is held, named or young", () => {
    const held = sized.map((one, index) => ({ ...one, held: index === 0 }));
    expect(kept(held, { keepLast: 4, maxSpace: 20 })).toEqual([sized[0]?.key, sized[3]?.key]);
  });

  test("counts only what the other rules leave", () => {
    expect(kept(sized, { keepLast: 2, maxSpace: 20 })).toHaveLength(2);
  });
});

describe("a policy is refused", () => {
  test.each([
    [{}, /no rule says what to keep/],
    [{ keepLast: 0 }, /no rule/],
    [{ keepWithin: "0d" }, /no rule/],
    [{ minAge: "2h", all: true }, /no rule/],
    [{ keepLast: -2 }, /'keepLast' must be a number/],
    [{ keepLast: 1.5 }, /'keepLast' must be a number/],
    [{ keepWithin: "1w" }, /"1w" is not a duration/],
    [{ keepWithin: "1d2d" }, /"1d2d" is not a duration/],
    [{ keepLast: 1, timeZone: "Mars/Olympus" }, /"Mars\/Olympus" is not a time zone/],
    [{ maxSpace: "much" }, /"much" is not a size/],
    [{ keepName: ["nightly*"] }, /no snapshot has a name like nightly\*/],
    [{ keepSecondly: 1 } as RetentionPolicy, /unknown field "keepSecondly"/],
  ] as [RetentionPolicy, RegExp][])("%j", (policy, message) => {
    expect(() => applyPolicy(at("2026-11-24T00:00Z"), policy, NOW)).toThrow(TypeError);
    expect(() => applyPolicy(at("2026-11-24T00:00Z"), policy, NOW)).toThrow(message);
  });
});

test("a thousand random histories are judged as restic's documentation has it", () => {
  const seen = { removed: 0, compared: 0 };
  fc.assert(
    fc.property(histories(NOW), policies, (snapshots, policy) => {
      const zone = policy.timeZone ?? "UTC";
      const expected = naiveKept(snapshots, policy, NOW, zone);
      if (expected === undefined) return;
      const verdicts = applyPolicy(snapshots, { ...policy, timeZone: zone }, NOW);
      expect(verdicts.map(({ snapshot }) => snapshot)).toEqual(snapshots);
      for (const { snapshot, keep, reasons: words } of verdicts) {
        expect(keep, `${snapshot.key}: ${words.join(", ")}`).toBe(expected.has(snapshot.key));
        expect(words).not.toEqual([]);
        if (!keep) seen.removed += 1;
      }
      seen.compared += 1;
    }),
    { numRuns: 1000 },
  );
  expect(seen.compared).toBeGreaterThan(950);
  expect(seen.removed).toBeGreaterThan(1000);
});
