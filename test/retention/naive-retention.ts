/**
 * What restic's documentation says of `forget`, one rule after the other and as
 * slowly as one likes: "for the last n days which have one or more snapshots,
 * keep only the most recent one for each day", weeks from Monday to Sunday, and
 * "within the specified duration of the latest snapshot", which is not one of the future.
 */
import type { PrunableSnapshot, RetentionPolicy } from "../../src/retention/index.ts";

/** `2026-11-24 13:05:09` as a clock in the zone shows it. */
const formats = new Map<string, Intl.DateTimeFormat>();
export function clock(time: number, zone: string): string {
  let format = formats.get(zone);
  format ??= new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
  formats.set(zone, format);
  return format.format(time);
}

/** The day of the Monday of that week: as good a name for it as its number. */
function monday(text: string): string {
  const day = new Date(`${text.slice(0, 10)}T00:00:00Z`);
  while (day.getUTCDay() !== 1) day.setUTCDate(day.getUTCDate() - 1);
  return day.toISOString().slice(0, 10);
}

const LABELS: Readonly<Record<string, (text: string) => string>> = {
  keepHourly: (text) => text.slice(0, 13),
  keepDaily: (text) => text.slice(0, 10),
  keepWeekly: monday,
  keepMonthly: (text) => text.slice(0, 7),
  keepYearly: (text) => text.slice(0, 4),
};

/** Undefined where the clock shows that time never or twice. */
export function goneBack(time: number, duration: string, zone: string): number | undefined {
  const count = (unit: string): number => Number(new RegExp(`(\\d+)${unit}`).exec(duration)?.[1] ?? 0);
  const wall = new Date(`${clock(time, zone).replace(" ", "T")}Z`);
  wall.setUTCFullYear(
    wall.getUTCFullYear() - count("y"),
    wall.getUTCMonth() - count("m"),
    wall.getUTCDate() - count("d"),
  );
  const wanted = wall.toISOString().slice(0, 19).replace("T", " ");
  const found: number[] = [];
  for (let minutes = -15 * 60; minutes <= 15 * 60; minutes += 15) {
    const candidate = wall.getTime() + minutes * 60_000;
    if (clock(candidate, zone) === wanted) found.push(candidate);
  }
  const [only] = found;
  return only === undefined || found.length > 1 ? undefined : only + (time % 1000) - count("h") * 3_600_000;
}

/** Keys of what stays, of snapshots of different times; undefined where a duration has no plain answer. */
export function naiveKept(
  snapshots: readonly PrunableSnapshot[],
  policy: RetentionPolicy,
  now: number,
  zone: string,
): ReadonlySet<string> | undefined {
  const kept = new Set<string>();
  const mayGo = snapshots.filter(({ auto }) => auto || policy.all === true);
  const firm = new Set<string>();
  for (const one of snapshots) if (!mayGo.includes(one) || one.held === true) firm.add(one.key);
  const sorted = mayGo.toSorted((a, b) => b.time - a.time);
  if (policy.keepLast !== undefined) {
    const end = policy.keepLast === -1 ? sorted.length : policy.keepLast;
    for (const { key } of sorted.slice(0, end)) kept.add(key);
  }
  for (const [rule, label] of Object.entries(LABELS)) {
    const most = policy[rule as "keepDaily"] ?? 0;
    const labels = [...new Set(sorted.map(({ time }) => label(clock(time, zone))))];
    for (const wanted of most === -1 ? labels : labels.slice(0, most)) {
      const newest = sorted.find(({ time }) => label(clock(time, zone)) === wanted);
      if (newest !== undefined) kept.add(newest.key);
    }
  }
  if (policy.keepWithin !== undefined && /[1-9]/.test(policy.keepWithin)) {
    const latest = sorted.find(({ time }) => time < now);
    const since = latest === undefined ? 0 : goneBack(latest.time, policy.keepWithin, zone);
    if (since === undefined) return undefined;
    for (const { key, time } of sorted) if (time > since) kept.add(key);
  }
  if (policy.minAge !== undefined) {
    const since = goneBack(now, policy.minAge, zone);
    if (since === undefined) return undefined;
    for (const { key, time } of sorted) if (time > since) firm.add(key);
  }
  for (const pattern of policy.keepName ?? []) {
    for (const { key, name } of sorted) if (name.startsWith(pattern.slice(0, -1))) firm.add(key);
  }
  if (policy.maxSpace !== undefined) {
    const isTimed =
      policy.keepWithin !== undefined ||
      Object.keys(policy).some((key) => key in LABELS || key === "keepLast");
    if (!isTimed) for (const { key } of sorted) kept.add(key);
    const total = (): number =>
      sorted.reduce(
        (sum, { key, exclusiveBytes = 0 }) => sum + (kept.has(key) || firm.has(key) ? exclusiveBytes : 0),
        0,
      );
    for (const { key } of sorted.toReversed()) {
      if (total() <= Number(policy.maxSpace)) break;
      if (!firm.has(key)) kept.delete(key);
    }
  }
  return new Set([...kept, ...firm]);
}
