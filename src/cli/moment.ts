/**
 * Times as journalctl takes them, in local time. A strict reader of its own: one
 * that guesses would answer for another hour of an audit than was asked for.
 */
import { InvalidArgumentError } from "commander";

const SECOND = 1000;
const UNITS: readonly (readonly [RegExp, number])[] = [
  [/^(s|secs?|seconds?)$/, SECOND],
  [/^(m|mins?|minutes?)$/, 60 * SECOND],
  [/^(h|hrs?|hours?)$/, 3600 * SECOND],
  [/^(d|days?)$/, 86_400 * SECOND],
  [/^(w|weeks?)$/, 7 * 86_400 * SECOND],
];

const FORMS =
  "Give a time such as 2026-11-25, '2026-11-25 14:30', 14:30, today, yesterday, now, -2h, '3 days ago' or @SECONDS.";

/** Milliseconds since 1970. @throws InvalidArgumentError */
export function parseTime(text: string, now = Date.now()): number {
  const words = text.trim();
  const time = byName(words, now) ?? sinceEpoch(words) ?? relative(words, now) ?? absolute(words, now);
  if (time === undefined) throw new InvalidArgumentError(FORMS);
  return time;
}

/** Milliseconds of a duration such as `90s`, `12h`, `7d` or `2 weeks`. @throws InvalidArgumentError */
export function parseDuration(text: string): number {
  const [, digits, word = ""] = /^(\d{1,9}(?:\.\d{1,3})?)\s*([a-z]+)$/.exec(text.trim()) ?? [];
  const unit = UNITS.find(([form]) => form.test(word))?.[1];
  const duration = digits === undefined || unit === undefined ? 0 : Math.round(Number(digits) * unit);
  if (duration < SECOND) throw new InvalidArgumentError("Give a duration such as 30m, 12h, 7d or 2w.");
  return duration;
}

function byName(words: string, now: number): number | undefined {
  const days = { today: 0, yesterday: -1, tomorrow: 1 }[words];
  if (days !== undefined) return midnight(now, days);
  return words === "now" ? now : undefined;
}

/** Not a multiple of 24 hours: where clocks change, days have 23 or 25. */
function midnight(now: number, days: number): number {
  const date = new Date(now);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime();
}

function sinceEpoch(words: string): number | undefined {
  const seconds = /^@(\d{1,11}(?:\.\d{1,9})?)$/.exec(words)?.[1];
  return seconds === undefined ? undefined : Math.round(Number(seconds) * SECOND);
}

/** `-1h 30min`, `3 days ago`, `+10m`. */
function relative(words: string, now: number): number | undefined {
  const form = /^(?:(?<sign>[+-])(?<span>.+)|(?<before>.+?)\s+ago)$/.exec(words)?.groups;
  const span = form?.["span"] ?? form?.["before"];
  if (span === undefined) return undefined;
  const parts = [...span.matchAll(/\s*(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]+)/gy)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== span) return undefined;
  let sum = 0;
  for (const [, count, unit = ""] of parts) {
    const factor = UNITS.find(([pattern]) => pattern.test(unit))?.[1];
    if (factor === undefined) return undefined;
    sum += Number(count) * factor;
  }
  return now + (form?.["sign"] === "+" ? sum : -sum);
}

const DATE =
  /^(?:(\d{4})-(\d\d)-(\d\d))?(?:(?:^|[ T])(\d\d):(\d\d)(?::(\d\d)(\.\d{1,9})?)?\s?(Z|UTC|[+-]\d\d:?\d\d)?)?$/;

/** A date, a time of today, or both; with a zone, or local. */
function absolute(words: string, now: number): number | undefined {
  const found = words === "" ? null : DATE.exec(words);
  if (found === null) return undefined;
  const today = new Date(now);
  const [year, month, day] =
    found[1] === undefined
      ? [today.getFullYear(), today.getMonth() + 1, today.getDate()]
      : [Number(found[1]), Number(found[2]), Number(found[3])];
  const [hour = 0, minute = 0, second = 0] = found.slice(4, 7).map((part) => Number(part ?? 0));
  const fraction = Math.round(Number(`0${found[7] ?? ""}`) * SECOND);
  const zone = found[8];
  const fields = [year, month - 1, day, hour, minute, second, fraction] as const;
  const date = zone === undefined ? new Date(...fields) : new Date(Date.UTC(...fields));
  // 2026-02-30 and 25:00 would quietly become another day.
  const read =
    zone === undefined ? [date.getMonth(), date.getDate()] : [date.getUTCMonth(), date.getUTCDate()];
  if (read[0] !== month - 1 || read[1] !== day || hour > 23 || minute > 59 || second > 59) return undefined;
  return date.getTime() - offsetOf(zone);
}

function offsetOf(zone: string | undefined): number {
  const found = /^([+-])(\d\d):?(\d\d)$/.exec(zone ?? "");
  if (found === null) return 0;
  const minutes = Number(found[2]) * 60 + Number(found[3]);
  return (found[1] === "-" ? -minutes : minutes) * 60 * SECOND;
}
