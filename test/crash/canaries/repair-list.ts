/** Bugs of the repair: one for each rule that keeps it from making things worse. */
import { type Image, readL1Table } from "../../../src/image/index.ts";
import { type Intent, fill } from "../../../src/intent/index.ts";
import { clearedInL1 } from "../../../src/plan/copied-intents.ts";
import { changing, dropping, phases, syncAt } from "./changes.ts";
import type { Canary } from "./list.ts";
import type { Bug } from "./planted.ts";
import type { Subject } from "./subjects.ts";

const FLAWED: readonly Subject[] = ["repair of refcounts and flags"];
const NEW_BLOCKS: readonly Subject[] = ["repair of a missing refcount block", "repair of a refcount table"];
const REPLACED: readonly Subject[] = [
  "repair of a refcount block that is named twice",
  "repair of a snapshot table",
  "repair that gives a snapshot up",
];
const UNREADABLE_SNAPSHOTS: readonly Subject[] = [
  "repair of an unreadable snapshot",
  "repair of a contradictory snapshot",
  "repair of an unreadable entry",
];

const COUNTS_CONTRADICTIONS: Bug = {
  contradictory: () => [],
  differences: (census, real) => {
    census.findings.length = 0;
    return real();
  },
};

const isRaise = (intent: Intent): boolean =>
  intent.kind === "refcount" && intent.runs.some(([, , from, to]) => to > from);
const isLower = (intent: Intent): boolean =>
  intent.kind === "refcount" && intent.runs.some(([, , from, to]) => to < from);

/** The refcount of the cluster that a new block of 16-bit refcounts lies in, set to 0. */
function forgetsItself(intent: Intent): Intent[] {
  if (intent.kind !== "fill" || intent.bytes === undefined) return [intent];
  const bytes = intent.bytes.slice();
  const entry = (intent.offset / bytes.length) * 2;
  bytes.fill(0, entry, entry + 2);
  return [fill(intent.offset, bytes)];
}

/** An intent of flags, with one entry more at its start: one that is right as it is. */
function oneFlagMore(intent: Intent): Intent[] {
  const [first, ...others] = intent.kind === "copied" ? intent.runs : [];
  if (intent.kind !== "copied" || first === undefined) return [intent];
  return [{ ...intent, runs: [[first[0] - 1, first[1] + 1], ...others] }];
}

const isSet = (intent: Intent): boolean => intent.kind === "copied" && intent.set;
const isClear = (intent: Intent): boolean => intent.kind === "copied" && !intent.set;

const withActive: NonNullable<Bug["flags"]> = async (flags, { disk, header }: Image) => {
  const { geometry, l1TableOffset: offset, l1Size: entries } = header;
  const l1 = await readL1Table(disk, geometry, { offset, entries });
  clearedInL1(l1, geometry.l1EntriesPerCluster, () => true, flags);
};

const refcounts: readonly Canary[] = [
  { name: "a repair that raises no refcount", subjects: FLAWED, bug: { plan: dropping(isRaise) } },
  {
    name: "a repair that lowers no refcount",
    subjects: [...FLAWED, "repair of leaks"],
    bug: { plan: dropping(isLower) },
  },
  {
    name: "a repair that raises refcounts behind the switch",
    subjects: FLAWED,
    bug: { plan: phases(({ raise, lower }) => ({ raise: [], lower: [...raise, ...lower] })) },
    says: /no mark says any more/,
  },
  {
    name: "a repair that takes the marks of damage away first",
    subjects: FLAWED,
    bug: { plan: phases(({ raise, switch: header }) => ({ raise: [...header, ...raise], switch: [] })) },
    says: /no mark says any more/,
  },
  {
    name: "a repair without a sync between refcounts and marks",
    subjects: FLAWED,
    bug: { skipsSync: syncAt("raise", false) },
    says: /no mark says any more/,
  },
  {
    name: "a repair without a sync between refcounts and marks, in its replay",
    subjects: FLAWED,
    bug: { skipsSync: syncAt("raise", true) },
    says: /its recovery.*no mark says any more/s,
  },
  {
    name: "marks of damage that stay",
    subjects: FLAWED,
    bug: { plan: phases(() => ({ switch: [] })) },
    says: /marks 0x3/,
  },
  {
    name: "refcounts that are right already, changed by a repair",
    subjects: ["repair of leaks"],
    bug: {
      differences: (_census, real) => {
        const found = real();
        found.add(0, 1);
        return found;
      },
    },
    says: /cluster 0: refcount 2, references 1/,
  },
  {
    name: "a refcount block that does not count itself when it is made anew",
    subjects: NEW_BLOCKS,
    bug: { plan: changing(({ kind }) => kind === "fill", forgetsItself) },
  },
  {
    name: "a refcount block that is made anew, and never referred to",
    subjects: ["repair of a missing refcount block"],
    bug: { plan: dropping(({ kind }) => kind === "pointer") },
  },
  {
    name: "a refcount block that is referred to before it is written",
    subjects: ["repair of a missing refcount block"],
    bug: {
      plan: phases(({ reserve, raise }) => ({
        reserve: raise.filter(({ kind }) => kind === "pointer"),
        raise: [...reserve, ...raise.filter(({ kind }) => kind !== "pointer")],
      })),
    },
  },
  {
    name: "a refcount block that is believed in the place of something else",
    subjects: ["repair of a refcount block in another's place"],
    bug: {
      believes: async ({ header }, _census, real) => {
        const found = await real();
        // The table as it is stored.
        found.windows.stored.table[0] = header.l1TableOffset;
        return { ...found, damagedSlots: 0, newTable: false };
      },
    },
  },
  {
    name: "new structures in the place of what a damaged slot names",
    subjects: ["repair of a refcount block under an unreadable slot"],
    bug: { allocatesAnywhere: true },
  },
  {
    name: "tables that are replaced, freed before the header names the new ones",
    subjects: REPLACED,
    bug: { plan: phases(({ switch: header, lower }) => ({ switch: lower, lower: header })) },
    repair: 1,
  },
  {
    name: "tables that are replaced, punched out before the header names the new ones",
    subjects: REPLACED,
    bug: { plan: phases(({ raise, discard }) => ({ raise: [...discard, ...raise], discard: [] })) },
  },
];

const flags: readonly Canary[] = [
  { name: "a repair that clears no COPIED flag", subjects: FLAWED, bug: { plan: dropping(isClear) } },
  { name: "a repair that sets no COPIED flag", subjects: FLAWED, bug: { plan: dropping(isSet) } },
  {
    name: "a repair that sets COPIED where the refcount is 2",
    subjects: FLAWED,
    bug: { plan: changing(isSet, oneFlagMore) },
  },
  {
    name: "a repair that clears COPIED flags behind the switch",
    subjects: FLAWED,
    bug: {
      plan: phases(({ raise, lower }) => ({
        raise: raise.filter((intent) => !isClear(intent)),
        lower: [...raise.filter(isClear), ...lower],
      })),
    },
    says: /no mark says any more/,
  },
  {
    name: "hardening that clears the flags of the active L1 table",
    subjects: ["repair that hardens", "repair of leaks"],
    bug: { flags: withActive },
    says: /COPIED is false/,
  },
  {
    name: "hardening that does nothing",
    subjects: ["repair that hardens"],
    bug: { repairAs: (operation) => ({ ...operation, harden: false }) },
    says: /COPIED flags of snapshots/,
  },
  {
    name: "hardening that leaves a snapshot out",
    subjects: ["repair that hardens"],
    bug: { plan: dropping(isClear) },
    says: /COPIED flags of snapshots/,
  },
];

const snapshots: readonly Canary[] = [
  {
    name: "clusters freed that an unreadable snapshot may own",
    subjects: UNREADABLE_SNAPSHOTS,
    bug: { repairAs: (operation) => ({ ...operation, dropDamagedSnapshots: true }) },
    says: /has to be (refused was done|left alone was not)/,
  },
  {
    name: "an unreadable snapshot that is left out without a word",
    subjects: ["repair of an unreadable snapshot"],
    bug: { readable: ({ readable }) => ({ readable, damaged: [] }) },
    says: /has to be left alone was not/,
  },
  {
    name: "an entry of the snapshot table that a repair drops",
    subjects: ["repair of refcounts and flags", "repair of a snapshot table", "repair that hardens"],
    bug: { readable: ({ readable, damaged }) => ({ readable: readable.slice(1), damaged }) },
    says: /neither as before nor as after/,
  },
  {
    name: "a sound snapshot given up together with a damaged one",
    subjects: ["repair that gives a snapshot up"],
    bug: { readable: ({ damaged }) => ({ readable: [], damaged }) },
    says: /neither as before nor as after/,
  },
  {
    name: "a damaged snapshot that is given up, and stays",
    subjects: ["repair that gives a snapshot up"],
    bug: { plan: phases(() => ({ switch: [] })) },
  },
  {
    name: "a repair of leaks that goes on where more is wrong",
    subjects: ["repair of leaks where more is wrong"],
    bug: { repairAs: (operation) => ({ ...operation, what: "all" }) },
    says: /has to be left alone was not/,
  },
  {
    name: "a contradiction that is counted, and not refused",
    subjects: ["repair of a cluster with two owners"],
    bug: COUNTS_CONTRADICTIONS,
    says: /has to be refused was done/,
  },
  {
    name: "a snapshot that contradicts the disk, taken for one that is sound",
    subjects: ["repair of a contradictory snapshot", "repair that gives a contradictory snapshot up"],
    bug: COUNTS_CONTRADICTIONS,
  },
];

export const REPAIR_CANARIES: readonly Canary[] = [...refcounts, ...flags, ...snapshots];
