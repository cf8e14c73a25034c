import { expect, test } from "vitest";
import { openJournalOn } from "../../journal/index.ts";
import { Machine } from "../support/machine.ts";
import { type Batch, SimulatedStore } from "../support/simulated-store.ts";
import { open, partsOf } from "./lab.ts";

/** A put under way: what came before may not be on disk yet, while it is. */
interface Caught {
  readonly durable: readonly Batch[];
  readonly pending: readonly Batch[];
}

function* subsets<T>(items: readonly T[]): Generator<T[]> {
  for (let bits = 0; bits < 2 ** items.length; bits += 1) {
    yield items.filter((_, index) => ((bits >> index) & 1) === 1);
  }
}

test("power fails while a compaction is being written: it is there with all that it relies on, or it is not", async () => {
  const machine = new Machine();
  const store = new SimulatedStore([], machine);
  const journal = await openJournalOn(store, { dir: "/fake", create: true });
  if (journal === undefined) throw new Error("no journal was made");
  const numbers: number[] = [];
  for (let count = 0; count < 2; count += 1) {
    const number = await journal.begin("x");
    for (const part of [1, 2, 3]) await journal.part(number, part);
    await journal.prepare(number, "plan");
    await journal.commit(number);
    await journal.settle(number);
    numbers.push(number);
  }
  const pending = await journal.begin("pending");
  await journal.part(pending, 4);
  const caught: Caught[] = [];
  machine.onEvent = () => caught.push(store.unsynced());
  // Others append at the same time: what they write comes before the compaction, and is not synced.
  const report = journal.compact();
  const others = [journal.part(pending, 5), journal.note("meanwhile"), journal.part(pending, 6)];
  expect(await report).toMatchObject({ transactions: 2 });
  await Promise.all(others);
  machine.onEvent = () => undefined;
  let [states, dropped] = [0, 0];
  for (const { durable, pending: unsynced } of caught) {
    const underWay = store.log[durable.length + unsynced.length] ?? [];
    for (const kept of subsets(unsynced)) {
      for (const end of [[], [underWay]]) {
        const left = new SimulatedStore([...durable, ...kept, ...end]);
        const found = await open(left);
        const verified = await found.verify();
        states += 1;
        if (verified.dropped > 0) dropped += 1;
        for (const { transaction } of found.pending()) await partsOf(found, transaction);
        await found.note("goes on");
        await (await open(left)).verify();
      }
    }
  }
  expect(states).toBeGreaterThan(20);
  expect(dropped).toBeGreaterThan(0);
});
