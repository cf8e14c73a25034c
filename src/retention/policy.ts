import { Calendar } from "./calendar.ts";
import { type Duration, isZero, parseDuration } from "./duration.ts";
import { parseSize } from "./size.ts";

/**
 * Which snapshots stay. Each rule keeps some, and what any of them keeps stays,
 * but for `maxSpace`. Counts: -1 is all, 0 none. Durations: `1y5m7d2h`.
 */
export interface RetentionPolicy {
  /** The newest so many. */
  readonly keepLast?: number;
  /** Of each of the last so many hours that have snapshots, the newest. */
  readonly keepHourly?: number;
  readonly keepDaily?: number;
  /** ISO weeks: from Monday on. */
  readonly keepWeekly?: number;
  readonly keepMonthly?: number;
  readonly keepYearly?: number;
  /** What was taken within this duration before the newest. */
  readonly keepWithin?: string;
  /** What has a name like that: `*` is any text, `?` one character. */
  readonly keepName?: readonly string[];
  /** What is younger than that stays, whatever the other rules say. */
  readonly minAge?: string;
  /**
   * The oldest that only count or duration keep go, until those that stay have no more
   * than so many bytes that nothing else of their image uses. A number, or `10G`.
   */
  readonly maxSpace?: number | string;
  /** Where days begin at midnight, as `Europe/Berlin`. Default `UTC`, which is the same on every machine and has no hour twice. */
  readonly timeZone?: string;
  /** Also what a person took; the default is what is marked as automatic. */
  readonly all?: boolean;
}

export const COUNTS = [
  "keepLast",
  "keepHourly",
  "keepDaily",
  "keepWeekly",
  "keepMonthly",
  "keepYearly",
] as const;

/** A policy that was checked and read. */
export interface Rules {
  readonly counts: Readonly<Record<(typeof COUNTS)[number], number>>;
  readonly within: { readonly text: string; readonly duration: Duration } | undefined;
  readonly names: readonly string[];
  readonly minAge: { readonly text: string; readonly duration: Duration } | undefined;
  readonly maxSpace: number | undefined;
  readonly calendar: Calendar;
  readonly all: boolean;
}

const KNOWN = new Set([...COUNTS, "keepWithin", "keepName", "minAge", "maxSpace", "timeZone", "all"]);

function wrong(what: string): never {
  throw new TypeError(`policy: ${what}`);
}

/**
 * Reads a policy that came from outside, as from a JSON file: names as in
 * `RetentionPolicy` or as on the command line (`keep-daily`; `tz` for the time zone).
 * @throws TypeError naming the field
 */
export function policyFrom(value: unknown): RetentionPolicy {
  if (typeof value !== "object" || value === null || Array.isArray(value)) wrong("it must be an object");
  const policy: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(value)) {
    const camel =
      key === "tz" ? "timeZone" : key.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    if (!KNOWN.has(camel)) wrong(`unknown field ${JSON.stringify(key)}`);
    if (Object.hasOwn(policy, camel)) wrong(`${JSON.stringify(key)} is there twice`);
    policy[camel] = camel === "keepName" && typeof field === "string" ? [field] : field;
  }
  rulesOf(policy);
  return policy;
}

/** @throws TypeError for a policy that is malformed, or that has no rule and would remove everything */
export function rulesOf(policy: RetentionPolicy): Rules {
  const { keepWithin, keepName = [], minAge, maxSpace, timeZone, all = false } = policy;
  for (const key of Object.keys(policy)) if (!KNOWN.has(key)) wrong(`unknown field ${JSON.stringify(key)}`);
  const counts = Object.fromEntries(
    COUNTS.map((name) => [name, countOf(name, policy[name] ?? 0)]),
  ) as Rules["counts"];
  if (!Array.isArray(keepName) || keepName.some((name) => typeof name !== "string")) {
    wrong("'keepName' must be a list of patterns");
  }
  if (typeof all !== "boolean") wrong("'all' must be true or false");
  if (maxSpace !== undefined && typeof maxSpace !== "number" && typeof maxSpace !== "string") {
    wrong("'maxSpace' must be a number of bytes or a size");
  }
  if (timeZone !== undefined && typeof timeZone !== "string")
    wrong("'timeZone' must be the name of a time zone");
  const within = durationOf("keepWithin", keepWithin);
  const rules: Rules = {
    counts,
    within: within === undefined || isZero(within.duration) ? undefined : within,
    names: keepName,
    minAge: durationOf("minAge", minAge),
    maxSpace: maxSpace === undefined ? undefined : parseSize(maxSpace),
    calendar: new Calendar(timeZone ?? "UTC"),
    all,
  };
  if (!hasRule(rules))
    wrong("no rule says what to keep, so everything would go. Nothing was removed; give a keep rule");
  return rules;
}

/** A minimal age says what may not go yet, not what is to stay. */
export function hasRule(rules: Rules): boolean {
  return keepsByTime(rules) || rules.names.length > 0 || rules.maxSpace !== undefined;
}

export const keepsByTime = ({ counts, within }: Rules): boolean =>
  within !== undefined || COUNTS.some((name) => counts[name] !== 0);

function countOf(name: string, count: unknown): number {
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < -1) {
    wrong(`'${name}' must be a number of snapshots, or -1 for all`);
  }
  return count;
}

function durationOf(name: string, text: unknown): Rules["within"] {
  if (text === undefined) return undefined;
  if (typeof text !== "string") wrong(`'${name}' must be a duration as 1y5m7d2h`);
  return { text, duration: parseDuration(text) };
}
