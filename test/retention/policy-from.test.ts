import { describe, expect, test } from "vitest";
import { parseDuration, parseSize, policyFrom } from "../../src/retention/index.ts";

describe("a policy from a file", () => {
  test("may have the names of the API or those of the command", () => {
    expect(
      policyFrom({ "keep-daily": 7, keepLast: -1, "keep-name": "before-*", tz: "UTC", "max-space": "10G" }),
    ).toEqual({
      keepDaily: 7,
      keepLast: -1,
      keepName: ["before-*"],
      timeZone: "UTC",
      maxSpace: "10G",
    });
  });

  test.each([
    [null, /must be an object/],
    [[], /must be an object/],
    [{ keepDaily: 1, keepdayly: 2 }, /unknown field "keepdayly"/],
    [{ keepDaily: 1, "keep-daily": 2 }, /"keep-daily" is there twice/],
    [{ keepDaily: "7" }, /'keepDaily' must be a number/],
    [{ keepLast: 1, keepName: [1] }, /'keepName' must be a list/],
    [{ keepLast: 1, keepWithin: 7 }, /'keepWithin' must be a duration/],
    [{ keepLast: 1, all: "yes" }, /'all' must be true or false/],
    [{ keepLast: 1, maxSpace: {} }, /'maxSpace' must be a number/],
    [{ keepLast: 1, __proto__: null, constructor: 1 }, /unknown field "constructor"/],
  ])("%j is refused", (value, message) => {
    expect(() => policyFrom(value)).toThrow(message);
  });
});

test("durations and sizes", () => {
  expect(parseDuration("1y5m7d2h")).toEqual({ years: 1, months: 5, days: 7, hours: 2 });
  expect(parseDuration("2h1d")).toEqual({ years: 0, months: 0, days: 1, hours: 2 });
  for (const [text, size] of [
    ["0", 0],
    ["512B", 512],
    ["10k", 10_240],
    ["1.5GiB", 1.5 * 2 ** 30],
    ["2TB", 2 * 2 ** 40],
    [77, 77],
  ] as const) {
    expect(parseSize(text)).toBe(size);
  }
  for (const text of ["", "-1", "1 X", "1e3", "iB", "99999P"])
    expect(() => parseSize(text), text).toThrow(/not a size/);
  for (const text of ["", "d", "1", "-1d", "1d 2h", "1.5d"]) {
    expect(() => parseDuration(text), text).toThrow(/not a duration/);
  }
});
