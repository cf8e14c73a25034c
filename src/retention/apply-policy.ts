import { type WallTime, dayOf, hourOf, monthOf, weekOf, yearOf } from "./calendar.ts";
import { matchesGlob } from "./glob.ts";
import { COUNTS, type RetentionPolicy, type Rules, keepsByTime, rulesOf } from "./policy.ts";
import type { PrunableSnapshot, Verdict } from "./snapshot.ts";

/** The bucket that a snapshot falls into; each is one of its own for `keepLast`. */
const BUCKETS: Readonly<Record<(typeof COUNTS)[number], (wall: WallTime) => string | undefined>> = {
  keepLast: () => undefined,
  keepHourly: hourOf,
  keepDaily: dayOf,
  keepWeekly: weekOf,
  keepMonthly: monthOf,
  keepYearly: yearOf,
};

interface Draft<Snapshot> {
  readonly snapshot: Snapshot;
  /** Why it stays, whatever becomes of the space. */
  readonly firm: string[];
  readonly rules: string[];
  removed?: string;
}

/**
 * What becomes of each snapshot, in the order in which they were given. Nothing
 * is looked up: `now`, in milliseconds since 1970, is data as the rest.
 *
 * @throws TypeError for a malformed policy, one without a rule, and names that keep nothing at all
 */
export function applyPolicy<Snapshot extends PrunableSnapshot>(
  snapshots: readonly Snapshot[],
  policy: RetentionPolicy,
  now: number,
): Verdict<Snapshot>[] {
  const rules = rulesOf(policy);
  const drafts = snapshots.map((snapshot): Draft<Snapshot> => ({ snapshot, firm: [], rules: [] }));
  const candidates = drafts.filter(({ snapshot, firm }) => {
    if (snapshot.held === true) firm.push("hold");
    if (rules.all || snapshot.auto) return true;
    firm.push("not automatic");
    return false;
  });
  // Of two that are as old as each other, the later one in the list is the newer one.
  const newestFirst = candidates.toReversed().toSorted((a, b) => b.snapshot.time - a.snapshot.time);
  keepFirmly(newestFirst, rules, now);
  keepWithin(newestFirst, rules, now);
  keepBuckets(newestFirst, rules);
  if (!keepsByTime(rules) && rules.maxSpace !== undefined) {
    for (const draft of newestFirst) if (!isKept(draft)) draft.rules.push("there is space for it");
  }
  if (rules.maxSpace !== undefined) makeSpace(newestFirst, rules.maxSpace);
  return drafts.map(verdictOf);
}

const isKept = ({ firm, rules, removed }: Draft<unknown>): boolean =>
  firm.length > 0 || (rules.length > 0 && removed === undefined);

function verdictOf<Snapshot extends PrunableSnapshot>(draft: Draft<Snapshot>): Verdict<Snapshot> {
  const { snapshot, firm, rules, removed } = draft;
  if (isKept(draft))
    return { snapshot, keep: true, reasons: [...firm, ...(removed === undefined ? rules : [])] };
  return { snapshot, keep: false, reasons: [removed ?? "no rule keeps it"] };
}

function keepFirmly(newestFirst: readonly Draft<PrunableSnapshot>[], rules: Rules, now: number): void {
  const { names, minAge, calendar } = rules;
  const youngest = minAge === undefined ? Infinity : calendar.before(now, minAge.duration);
  let named = 0;
  for (const { snapshot, firm } of newestFirst) {
    const pattern = names.find((candidate) => matchesGlob(candidate, snapshot.name));
    if (pattern !== undefined) {
      firm.push(`name like ${pattern}`);
      named += 1;
    }
    if (minAge !== undefined && snapshot.time > youngest) firm.push(`younger than ${minAge.text}`);
  }
  const isOnlyRule = !keepsByTime(rules) && rules.maxSpace === undefined;
  if (isOnlyRule && named === 0 && newestFirst.length > 0) {
    throw new TypeError(
      `policy: no snapshot has a name like ${names.join(" or ")}, so everything would go. Nothing was removed; look at the pattern, or give another keep rule`,
    );
  }
}

/** What lies in the future is no measure: a wrong clock must not make everything else old. */
function keepWithin(
  newestFirst: readonly Draft<PrunableSnapshot>[],
  { within, calendar }: Rules,
  now: number,
): void {
  if (within === undefined) return;
  const newest = newestFirst.find(({ snapshot }) => snapshot.time < now);
  const since = newest === undefined ? -Infinity : calendar.before(newest.snapshot.time, within.duration);
  for (const { snapshot, rules } of newestFirst) {
    if (snapshot.time > since) rules.push(`within ${within.text} of the newest`);
  }
}

function keepBuckets(newestFirst: readonly Draft<PrunableSnapshot>[], { counts, calendar }: Rules): void {
  const buckets = COUNTS.filter((name) => counts[name] !== 0).map((name) => ({
    word: name.slice("keep".length).toLowerCase(),
    most: counts[name],
    bucketOf: BUCKETS[name],
    last: undefined as string | undefined,
    used: 0,
  }));
  if (buckets.length === 0) return;
  for (const { snapshot, rules } of newestFirst) {
    const wall = calendar.wallTime(snapshot.time);
    for (const bucket of buckets) {
      const { word, most, last, used } = bucket;
      if (used === most) continue;
      const value = bucket.bucketOf(wall);
      if (value !== undefined && value === last) continue;
      bucket.last = value;
      bucket.used += 1;
      const count = most === -1 ? `${bucket.used}` : `${bucket.used} of ${most}`;
      rules.push(`${word} ${count}${value === undefined ? "" : `: ${value}`}`);
    }
  }
}

function makeSpace(newestFirst: readonly Draft<PrunableSnapshot>[], maxSpace: number): void {
  const kept = newestFirst.filter(isKept);
  let space = 0;
  for (const { snapshot } of kept) {
    if (snapshot.exclusiveBytes === undefined)
      throw new TypeError("policy: 'maxSpace' needs what each snapshot occupies");
    space += snapshot.exclusiveBytes;
  }
  for (const draft of kept.toReversed()) {
    if (space <= maxSpace) return;
    if (draft.firm.length > 0) continue;
    draft.removed = `the oldest, and ${space} bytes are more than ${maxSpace}`;
    space -= draft.snapshot.exclusiveBytes ?? 0;
  }
}
