import { describe, expect, test } from "vitest";
import { parseTime } from "../../src/cli/moment.ts";

const NOW = new Date(2026, 10, 25, 14, 30, 15, 250).getTime();
const local = (...fields: readonly [number, number, number, number?, number?, number?]): number => {
  const [year, month, day, hour = 0, minute = 0, second = 0] = fields;
  return new Date(year, month - 1, day, hour, minute, second).getTime();
};

describe("a time at a shell", () => {
  test.each([
    ["2026-11-20", local(2026, 11, 20)],
    ["2026-11-20 08:15", local(2026, 11, 20, 8, 15)],
    ["2026-11-20T08:15:30", local(2026, 11, 20, 8, 15, 30)],
    ["2026-11-20T08:15:30.5Z", Date.UTC(2026, 10, 20, 8, 15, 30, 500)],
    ["2026-11-20 08:15 UTC", Date.UTC(2026, 10, 20, 8, 15)],
    ["2026-11-20T08:15:00+02:00", Date.UTC(2026, 10, 20, 6, 15)],
    ["2026-11-20T08:15:00-0330", Date.UTC(2026, 10, 20, 11, 45)],
    ["09:00", local(2026, 11, 25, 9)],
    ["today", local(2026, 11, 25)],
    ["yesterday", local(2026, 11, 24)],
    ["tomorrow", local(2026, 11, 26)],
    ["now", NOW],
    ["-2h", NOW - 7_200_000],
    ["-1h 30min", NOW - 5_400_000],
    ["-1h30m", NOW - 5_400_000],
    ["3 days ago", NOW - 3 * 86_400_000],
    ["1 week ago", NOW - 7 * 86_400_000],
    ["+10s", NOW + 10_000],
    ["@1700000000", 1_700_000_000_000],
    [" 2026-11-20 ", local(2026, 11, 20)],
  ])("%j is understood", (text, expected) => {
    expect(parseTime(text, NOW)).toBe(expected);
  });

  test.each([
    "",
    " ",
    "soon",
    "2026-13-01",
    "2026-02-30",
    "25:00",
    "12:60",
    "-2",
    "-h",
    "-2 fortnights",
    "3 days",
    "ago",
    "2026-11-20 08",
    "08:15 2026-11-20",
    "@",
    "@-1",
    "@x",
    "- 2h junk",
    "1e9",
    "2026-11-20Z",
  ])("%j is refused, and the forms are named", (text) => {
    expect(() => parseTime(text, NOW)).toThrow("Give a time such as");
  });
});
