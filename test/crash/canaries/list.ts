/**
 * Bugs that the lab has to find. To add one: say in `Bug` (planted.ts) how the
 * code is to misbehave, let the mocks in canaries.test.ts do so, and name here
 * what is wrong, the operations that show it, and what the judge says.
 */
import type { BytePatch } from "../../../src/format/index.ts";
import { type Intent, reversed } from "../../../src/intent/index.ts";
import { changing, dropping, phases, syncAt, withEveryFlag } from "./changes.ts";
import { type Bug, planted } from "./planted.ts";
import { RECORD_CANARIES } from "./record-list.ts";
import { REPAIR_CANARIES } from "./repair-list.ts";
import type { Subject } from "./subjects.ts";

export interface Canary {
  readonly name: string;
  readonly subjects: readonly Subject[];
  readonly bug: Bug;
  /** What the judge has to say of it. Default: whatever. */
  readonly says?: RegExp;
  /** Part of the states that are repaired without their journal; 1 where only such a repair shows the bug. */
  readonly repair?: number;
}

const ALL = ["create", "revert", "delete"] as const;

const syncsLeftOut: readonly Canary[] = [
  { name: "no sync behind the fence", subjects: ["create"], bug: { skipsSync: syncAt("fence", false) } },
  {
    name: "no sync behind the reserved clusters",
    subjects: ["create in long clusters", "revert in long clusters", "receive"],
    bug: { skipsSync: syncAt("reserve", false) },
  },
  {
    name: "no sync between raise and switch",
    subjects: ["create", "revert", "receive"],
    bug: { skipsSync: syncAt("raise", false) },
    says: /more than leaks/,
  },
  {
    name: "no sync between switch and lower",
    subjects: ["revert", "delete"],
    bug: { skipsSync: syncAt("switch", false) },
    says: /more than leaks/,
  },
  {
    name: "no sync between lower and the end of the fence",
    subjects: ["revert", "delete"],
    bug: { skipsSync: (place) => ["lower", "discard"].includes(place.step) && !place.isRecovery },
  },
  {
    name: "no sync behind the end of the fence",
    subjects: ALL,
    bug: { skipsSync: syncAt("unfence", false) },
    says: /fence/,
  },
  {
    name: "no sync between raise and switch of a replay",
    subjects: ["create", "revert"],
    bug: { skipsSync: syncAt("raise", true) },
    says: /its recovery.*more than leaks/s,
  },
  {
    name: "no sync between switch and lower of a replay",
    subjects: ["revert", "delete"],
    bug: { skipsSync: syncAt("switch", true) },
    says: /its recovery/,
  },
  {
    name: "no sync between lower and the end of the fence in a replay",
    subjects: ["revert", "delete"],
    bug: { skipsSync: (place) => ["lower", "discard"].includes(place.step) && place.isRecovery },
    says: /its recovery/,
  },
  {
    name: "no sync when reserved space is given back",
    subjects: ["create", "revert"],
    bug: { skipsSync: (place) => place.isRecovery && ["give-back", "unfence"].includes(place.step) },
    says: /its recovery/,
  },
  {
    name: "no sync of what a killed process left, before its end is recorded",
    subjects: ALL,
    bug: { skipsSync: syncAt("judge", true) },
  },
  {
    name: "the second image is not synced",
    subjects: ["create on two images", "delete on two images"],
    bug: { skipsSync: ({ path }) => path.includes("second") },
  },
];

const wrongOrder: readonly Canary[] = [
  {
    name: "refcounts lowered before the header is switched",
    subjects: [...ALL, "receive"],
    bug: { plan: phases(({ lower, switch: header }) => ({ lower: header, switch: lower })) },
    says: /more than leaks|neither/,
  },
  {
    name: "refcounts raised after the header is switched",
    subjects: ["create", "revert"],
    bug: { plan: phases(({ raise, switch: header }) => ({ raise: header, switch: raise })) },
    says: /more than leaks/,
  },
  {
    name: "the header switched before anything else",
    subjects: ["create", "revert"],
    bug: { plan: phases(({ raise, switch: header }) => ({ raise: [...header, ...raise], switch: [] })) },
  },
  {
    name: "freed clusters punched out while something refers to them",
    subjects: ["revert", "delete", "receive"],
    bug: { plan: phases(({ raise, discard }) => ({ raise: [...discard, ...raise], discard: [] })) },
  },
  {
    name: "a fence that is removed before refcounts are lowered",
    subjects: ["revert", "delete"],
    bug: {
      parts: (part) => {
        if (part.phase !== "lower") return [part];
        const fence = [...planted.fences.values()][part.image];
        return fence === undefined ? [part] : [{ ...part, intents: [reversed(fence), ...part.intents] }];
      },
    },
  },
  {
    name: "a header that is switched in two writes",
    subjects: ["create", "delete"],
    bug: { splitsWrite: ({ step }) => (step === "switch" ? 64 : undefined) },
  },
];

const wrongValues: readonly Canary[] = [
  {
    name: "a refcount that is changed by a difference",
    subjects: ALL,
    bug: { addsRefcounts: true },
  },
  {
    name: "a refcount one too high",
    subjects: ["create", "revert"],
    bug: {
      plan: changing(
        ({ kind }) => kind === "refcount",
        (intent) =>
          intent.kind === "refcount"
            ? [
                {
                  ...intent,
                  runs: intent.runs.map(([first, count, from, to]) => [first, count, from, to + 1]),
                },
              ]
            : [intent],
      ),
    },
    says: /leaks/,
  },
  {
    name: "a refcount that is never changed",
    subjects: ALL,
    bug: { plan: dropping(({ kind }) => kind === "refcount") },
  },
  {
    name: "COPIED flags taken over from the snapshot's L1 table",
    subjects: ["revert"],
    bug: { plan: changing(({ kind }) => kind === "fill", withEveryFlag) },
    says: /COPIED is true/,
  },
  {
    name: "a COPIED flag that is never cleared",
    subjects: ["create"],
    bug: { plan: dropping((intent) => intent.kind === "copied" && !intent.set) },
    says: /COPIED is true/,
  },
  {
    name: "a COPIED flag that is never set",
    subjects: ["delete"],
    bug: { plan: dropping((intent) => intent.kind === "copied" && intent.set) },
    says: /COPIED is false/,
  },
  {
    name: "a new table that is never written",
    subjects: ["create", "revert"],
    bug: { plan: dropping(({ kind }) => kind === "fill") },
  },
  {
    name: "a header that is never switched",
    subjects: ALL,
    bug: { plan: phases(() => ({ switch: [] })) },
  },
];

const wrongRecovery: readonly Canary[] = [
  {
    name: "a fence that is never set",
    subjects: ALL,
    bug: { fence: (fence) => ({ ...fence, patches: [] }) },
  },
  {
    name: "a fence that stays",
    subjects: ALL,
    bug: { unfence: async () => Promise.resolve() },
    says: /fence/,
  },
  {
    name: "a fence that leaves its explanation behind",
    subjects: ALL,
    bug: {
      unfence: (disk, fence, real) => real(disk, { ...fence, patches: fence.patches.slice(-1) }),
    },
  },
  {
    name: "leftovers of a torn fence that are not cleared",
    subjects: ALL,
    bug: { skipsTidying: true },
    says: /header fits/,
  },
  {
    name: "reserved space that is not given back",
    subjects: ["create", "revert"],
    bug: {
      giveBack: async (disk, fence) => {
        await planted.bug.unfence?.(disk, fence, async () => Promise.resolve());
        for (const { offset, before } of fence.patches) await disk.write(offset, before);
        await disk.sync();
      },
    },
    says: /length of the file/,
  },
  {
    name: "a recovery that undoes what was decided",
    subjects: ALL,
    bug: {
      decide: (journal, _fence, action) =>
        journal === "committed" && action === "replay" ? "give-back" : action,
    },
  },
  {
    name: "a recovery that finishes what was not decided",
    subjects: ALL,
    bug: { decide: (_journal, _fence, action) => (action === "give-back" ? "replay" : action) },
    says: /the record says/,
  },
  {
    name: "a recovery that writes to an image whose fence is gone",
    subjects: ["revert", "delete"],
    bug: { decide: (_journal, _fence, action) => (action === "settle" ? "replay" : action) },
  },
  {
    name: "a recovery that forgets the second image",
    subjects: ["create on two images", "delete on two images"],
    bug: { parts: (part, { isRecovery }) => (isRecovery && part.image === 1 ? [] : [part]) },
  },
];

const AUTOCLEAR = 88;

const wrongBitmaps: readonly Canary[] = [
  {
    name: "bitmaps that are disowned behind the clusters that they lose",
    subjects: ["revert that drops bitmaps"],
    bug: {
      plan: (plan) => {
        const late: BytePatch[] = [];
        const early = [...plan.phases.switch].map((intent): Intent => {
          if (intent.kind !== "header") return intent;
          late.push(...intent.patches.filter(({ offset }) => offset === AUTOCLEAR));
          return { ...intent, patches: intent.patches.filter(({ offset }) => offset !== AUTOCLEAR) };
        });
        const extensionPatches = [...late, ...(plan.extensionPatches ?? [])];
        return { ...plan, phases: { ...plan.phases, switch: early }, extensionPatches };
      },
    },
    says: /neither as before nor as after|more than leaks/,
  },
  {
    name: "a header extension that is taken out from its head on",
    subjects: ["revert that drops bitmaps"],
    bug: {
      plan: (plan) => ({ ...plan, extensionPatches: (plan.extensionPatches ?? []).toReversed() }),
    },
    says: /header fits/,
    repair: 1,
  },
];

export const CANARIES: readonly Canary[] = [
  ...syncsLeftOut,
  ...wrongOrder,
  ...wrongValues,
  ...RECORD_CANARIES,
  ...wrongRecovery,
  ...wrongBitmaps,
  ...REPAIR_CANARIES,
];
