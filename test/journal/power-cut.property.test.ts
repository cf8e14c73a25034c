import fc from "fast-check";
import { expect, test } from "vitest";
import { type Journal, type TopicsOf, openJournalOn } from "../../journal/index.ts";
import { SimulatedStore } from "../support/simulated-store.ts";
import { open, sorted } from "./lab.ts";

type State = "begun" | "prepared" | "committed" | "ended";
const NEXT: Readonly<Record<State, readonly State[]>> = {
  begun: ["prepared", "ended"],
  prepared: ["committed", "ended"],
  committed: ["ended"],
  ended: [],
};

/** One or two of a few. */
const topicsOf: TopicsOf = ({ kind, body }) => {
  const { choice } = body as { readonly choice: number };
  return kind === "begun" ? [`/${choice % 3}`, `/${choice % 5}`] : [];
};

/** Everything that is not a record. */
const indexIn = (store: SimulatedStore): string[] =>
  sorted(store.content).filter((entry) => entry.startsWith("!"));

/** The index that would be built of the records alone. */
async function folded(store: SimulatedStore): Promise<string[]> {
  const bare = SimulatedStore.of(new Map([...store.content].filter(([key]) => !key.startsWith("!"))));
  await openJournalOn(bare, { dir: "/fake", create: false, topicsOf });
  return indexIn(bare);
}

/** Does something legal; returns what became of which transaction, if of any. */
async function step(journal: Journal, choice: number): Promise<readonly [number, State] | undefined> {
  const pending = journal.pending();
  if (choice % 13 === 0) {
    await journal.compact({ keepTransactions: choice % 2 });
    return undefined;
  }
  const chosen = pending[choice % (pending.length + 1)];
  if (chosen === undefined)
    return [await journal.begin({ choice }, topicsOf({ kind: "begun", body: { choice } })), "begun"];
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

test("a power cut loses any of what is not synced, what was before the first gap is there, the index is that of the records, and the journal goes on from there", async () => {
  let lost = 0;
  let torn = 0;
  let compactions = 0;
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
            const { puts } = store;
            const done = await step(journal, choice);
            if (done === undefined) {
              if (store.puts > puts) compactions += 1;
              expect(store.puts === puts || store.synced === store.puts).toBe(true);
              truth.set(store.puts, now);
              continue;
            }
            const [transaction, state] = done;
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
          for (const { transaction } of found) {
            for await (const part of (await open(store)).parts(transaction))
              expect(part).toBeTypeOf("number");
          }
          const next = new SimulatedStore(store.log);
          const reader = await open(next);
          const numbers: number[] = [];
          for await (const number of reader.transactionsOf("/1")) numbers.push(number);
          const touching: number[] = [];
          for await (const { kind, sequence, body } of reader.records()) {
            if (kind === "begun" && topicsOf({ kind, body }).includes("/1")) touching.push(sequence);
          }
          expect(numbers).toEqual(touching);
          // The next append takes what led to lost records out of the index.
          await reader.begin({ choice: 7 }, topicsOf({ kind: "begun", body: { choice: 7 } }));
          expect(indexIn(next)).toEqual(await folded(next));
        }
      },
    ),
    { numRuns: 300 },
  );
  expect(lost).toBeGreaterThan(0);
  expect(torn).toBeGreaterThan(0);
  expect(compactions).toBeGreaterThan(0);
});
