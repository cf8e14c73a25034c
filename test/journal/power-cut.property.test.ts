import fc from "fast-check";
import { expect, test } from "vitest";
import type { Journal } from "../../journal/index.ts";
import { SimulatedStore } from "../support/simulated-store.ts";
import { open } from "./lab.ts";

type State = "begun" | "prepared" | "committed" | "ended";
const NEXT: Readonly<Record<State, readonly State[]>> = {
  begun: ["prepared", "ended"],
  prepared: ["committed", "ended"],
  committed: ["ended"],
  ended: [],
};

/** Does something legal; returns what it did. */
async function step(journal: Journal, choice: number): Promise<readonly [number, State]> {
  const pending = journal.pending();
  const chosen = pending[choice % (pending.length + 1)];
  if (chosen === undefined) return [await journal.begin({ choice }), "begun"];
  const { transaction, state } = chosen;
  if (choice % 3 === 0 && state === "begun") {
    await journal.part(transaction, choice);
    return [transaction, "begun"];
  }
  const next = NEXT[state][choice % NEXT[state].length] ?? "ended";
  if (next === "prepared") await journal.prepare(transaction, choice);
  else if (next === "committed") await journal.commit(transaction);
  else if (state === "committed") await journal.settle(transaction);
  else await journal.abort(transaction);
  return [transaction, next];
}

test("a power cut loses any of what is not synced, what was before the first gap is there, and the journal goes on from there", async () => {
  let lost = 0;
  let torn = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.nat(1000), { minLength: 1, maxLength: 25 }), { minLength: 1, maxLength: 4 }),
      fc.infiniteStream(fc.boolean()),
      async (lives, fates) => {
        let store = new SimulatedStore();
        for (const choices of lives) {
          const journal = await open(store);
          /** What was true after so many puts. */
          const truth = new Map([
            [
              store.puts,
              new Map(journal.pending().map(({ transaction, state }) => [transaction, state as State])),
            ],
          ]);
          for (const choice of choices) {
            const now = new Map(truth.get(store.puts));
            const [transaction, state] = await step(journal, choice);
            now.set(transaction, state);
            truth.set(store.puts, now);
            // What is decided or planned is never at the mercy of a power cut.
            if (state === "prepared" || state === "committed") expect(store.synced).toBe(store.puts);
          }
          const isKept = Array.from(
            { length: store.puts },
            (_, put) => put < store.synced || fates.next().value,
          );
          const gap = isKept.indexOf(false);
          if (gap >= 0) lost += 1;
          if (gap >= 0 && isKept.includes(true, gap)) torn += 1;
          store = store.afterPowerCut((put) => isKept[put] === true);
          const expected = [...(truth.get(gap < 0 ? isKept.length : gap) ?? [])].filter(
            ([, state]) => state !== "ended",
          );
          const found = (await open(store)).pending();
          expect(new Map(found.map(({ transaction, state }) => [transaction, state as State]))).toEqual(
            new Map(expected),
          );
          await (await open(store)).verify();
        }
      },
    ),
    { numRuns: 300 },
  );
  expect(lost).toBeGreaterThan(0);
  expect(torn).toBeGreaterThan(0);
});
