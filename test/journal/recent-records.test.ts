import fc from "fast-check";
import { expect, test } from "vitest";
import { type Journal, RECORD_KINDS, type RecordKind, type TransactionsRange } from "../../journal/index.ts";
import { RecentRecords } from "../../journal/recent-records.ts";
import { SimulatedStore } from "../support/simulated-store.ts";
import { all } from "../support/all.ts";
import { open } from "./lab.ts";

const TOPICS = ["/0", "/1", "/2", "never"];

/** Does something legal. */
async function step(journal: Journal, choice: number): Promise<void> {
  if (choice % 11 === 0) {
    await journal.compact({ keepTransactions: choice % 2 });
    return;
  }
  if (choice % 7 === 0) {
    await journal.note({ choice }, [`/${choice % 3}`]);
    return;
  }
  const pending = journal.pending();
  const chosen = pending[choice % (pending.length + 1)];
  if (chosen === undefined) {
    await journal.begin({ choice }, [`/${choice % 3}`, `/${choice % 2}`], choice % 3 === 0);
    return;
  }
  const { transaction, state } = chosen;
  if (state === "begun" && choice % 2 === 0) await journal.prepare(transaction, choice, [choice, choice + 1]);
  else if (state === "prepared" && choice % 2 === 0) await journal.commit(transaction, choice);
  else if (state === "committed") await journal.settle(transaction, choice);
  else await journal.abort(transaction, choice);
}

interface Question {
  readonly topic: string;
  readonly range: TransactionsRange;
  readonly kinds: readonly RecordKind[] | undefined;
  /** It breaks off after so many. */
  readonly most: number;
}

const QUESTIONS = fc.record({
  topic: fc.constantFrom(...TOPICS),
  range: fc.record({ reverse: fc.boolean(), from: fc.nat(20), to: fc.nat(60) }, { requiredKeys: [] }),
  kinds: fc.option(fc.subarray([...RECORD_KINDS]), { nil: undefined }),
  most: fc.integer({ min: 1, max: 9 }),
});

async function answer(journal: Journal, { topic, range, kinds, most }: Question): Promise<unknown> {
  const numbers: number[] = [];
  for await (const number of journal.transactionsOf(topic, range)) {
    numbers.push(number);
    if (numbers.length === most) break;
  }
  return { numbers, records: await Promise.all(numbers.map((number) => journal.recordsOf(number, kinds))) };
}

test("whatever happened, an open journal answers as one that has just been opened does", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(1000), QUESTIONS), { minLength: 1, maxLength: 40 }),
      async (steps) => {
        const store = new SimulatedStore();
        const journal = await open(store);
        for (const [choice, question] of steps) {
          await step(journal, choice);
          const other = { ...question, topic: TOPICS[choice % TOPICS.length] ?? "" };
          for (const asked of [question, other, question]) {
            const fresh = await open(new SimulatedStore(store.log));
            expect(await answer(journal, asked)).toEqual(await answer(fresh, asked));
          }
        }
      },
    ),
    { numRuns: 40 },
  );
});

test("what it has written itself it need not read, nor what it has read once", async () => {
  const store = new SimulatedStore();
  const journal = await open(store);
  const transaction = async (): Promise<number> => {
    const number = await journal.begin("begun", ["/a", "/b"]);
    await journal.prepare(number, "plan", ["part"]);
    await journal.commit(number);
    await journal.settle(number);
    return number;
  };
  const newest = async (of: Journal, topic: string): Promise<unknown> => {
    for await (const number of of.transactionsOf(topic, { reverse: true })) {
      return [number, (await of.recordsOf(number)).map(({ kind }) => kind)];
    }
    return undefined;
  };
  const kinds = ["begun", "prepared", "committed", "settled"];
  const old = await transaction();
  const young = await transaction();
  const { puts } = store;
  store.reads = 0;
  expect(await newest(journal, "/a")).toEqual([young, kinds]);
  expect((await journal.recordsOf(old)).map(({ kind }) => kind)).toEqual(kinds);
  expect(store.reads).toBe(0);
  expect(await newest(journal, "/c")).toBeUndefined();
  const again = await open(new SimulatedStore(store.log));
  const known = await newest(again, "/b");
  expect(known).toEqual([young, kinds]);
  store.reads = 0;
  expect(await newest(journal, "/c")).toBeUndefined();
  expect(store.reads).toBe(0);
  // A short plan is one put with its end.
  await transaction();
  expect(store.puts - puts).toBe(4);
});

test("an append while a topic is looked up is not forgotten", async () => {
  const store = new SimulatedStore();
  const journal = await open(store);
  const first = await journal.note("first", ["/a"]);
  const fresh = await open(store);
  const lookUp = fresh.transactionsOf("/a", { reverse: true });
  const [found, second] = await Promise.all([lookUp.next(), fresh.note("second", ["/a"])]);
  expect([found.value, second]).toEqual([first, first + 1]);
  expect(await all(fresh.transactionsOf("/a", { reverse: true }))).toEqual([second, first]);
});

test("what is begun and held is written with what comes next, in its order, and by closing", async () => {
  const store = new SimulatedStore();
  const journal = await open(store);
  const { puts } = store;
  const one = await journal.begin("one", ["/a"], true);
  const two = await journal.begin("two", ["/a"], true);
  expect([store.puts - puts, await all(journal.transactionsOf("/a"))]).toEqual([0, []]);
  expect(journal.pending().map(({ transaction }) => transaction)).toEqual([one, two]);
  await journal.prepare(two, "plan", ["part"]);
  expect(store.puts - puts).toBe(1);
  expect(store.synced).toBe(store.puts);
  expect(await all(journal.transactionsOf("/a"))).toEqual([one, two]);
  await journal.abort(one);
  const three = await journal.begin("three", [], true);
  await journal.close();
  const again = await open(new SimulatedStore(store.log));
  expect(again.pending().map(({ transaction, state }) => [transaction, state])).toEqual([
    [two, "prepared"],
    [three, "begun"],
  ]);
  await again.verify();
});

test("what was held when a write failed is not written after it", async () => {
  const store = new SimulatedStore();
  const journal = await open(store);
  const number = await journal.begin("x", [], true);
  store.fault = { error: new Error("no space"), written: false };
  await expect(journal.prepare(number, "plan")).rejects.toThrow("no space");
  store.fault = undefined;
  const { puts } = store;
  await expect(journal.begin("y", [], true)).rejects.toMatchObject({ code: "IO_FAILED_EARLIER" });
  await journal.close();
  expect(store.puts).toBe(puts);
});

test("a body that somebody changes is not what the next one gets", async () => {
  const journal = await open(new SimulatedStore());
  const note = await journal.note({ tags: ["as written"] });
  for (const { body } of await journal.recordsOf(note)) (body as { tags: string[] }).tags.push("changed");
  expect((await journal.recordsOf(note))[0]?.body).toEqual({ tags: ["as written"] });
});

test("a plan of many parts is there in their order, and none of it when it is called off between two", async () => {
  const store = new SimulatedStore();
  const journal = await open(store);
  const parts = Array.from({ length: 9 }, (_, part) => new Uint8Array(100_000).fill(part));
  const called = await journal.begin("called off");
  const broken = function* (): Generator<unknown> {
    yield "first";
    throw new Error("called off");
  };
  await expect(journal.prepare(called, "plan", broken())).rejects.toThrow("called off");
  expect(await all(journal.parts(called))).toEqual([]);
  await journal.abort(called);
  const number = await journal.begin("long");
  const { puts } = store;
  const [, note] = await Promise.all([journal.prepare(number, "plan", parts), journal.note("meanwhile")]);
  expect(store.puts - puts).toBeGreaterThan(3);
  expect(note).toBeLessThan(journal.head.sequence);
  const found = (await all(journal.parts(number))) as Uint8Array[];
  expect(found.map((part) => [part.length, part[0]])).toEqual(parts.map((part) => [part.length, part[0]]));
  expect(store.synced).toBe(store.puts);
  await journal.verify();
});

test("memory is bounded: what was asked for longest ago goes first, whole", () => {
  const recent = new RecentRecords(1);
  const value = new Uint8Array(1024);
  const many = 5000;
  for (let sequence = 2; sequence < 2 + many * 2; sequence += 2) {
    recent.appended({ sequence, kind: "begun", transaction: sequence }, value, [`/${sequence}`]);
    recent.appended({ sequence: sequence + 1, kind: "settled", transaction: sequence }, value, []);
    expect(recent.recordsOf(2)).toHaveLength(2);
  }
  const kept: number[] = [];
  for (let sequence = 2; sequence < 2 + many * 2; sequence += 2) {
    const records = recent.recordsOf(sequence);
    if (records !== undefined) kept.push(records.length);
  }
  expect(new Set(kept)).toEqual(new Set([2]));
  expect(kept.length * 2 * value.length).toBeLessThanOrEqual(2 * 1024 * 1024);
  expect(kept.length).toBeGreaterThan(500);
  expect(recent.newestOf("/2")).toBeUndefined();
  expect(recent.newestOf(`/${many * 2}`)).toBe(many * 2);
});
