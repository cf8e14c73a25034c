import { describe, expect, test } from "vitest";
import {
  type Journal,
  type OpenOnOptions,
  type TopicsOf,
  type TransactionsRange,
  openJournal,
  openJournalOn,
} from "../../journal/index.ts";
import { SimulatedStore, type StoredEntries } from "../support/simulated-store.ts";
import { logKeys, open, readLevel, scratch, sorted, writeLevel } from "./lab.ts";

/** Bodies of these tests say their topics themselves. */
const topicsOf: TopicsOf = ({ body }) => (body as { readonly topics: readonly string[] }).topics;

const isIndexKey = (key: string): boolean => key.startsWith("!");

async function openWith(store: SimulatedStore, options: Partial<OpenOnOptions> = {}): Promise<Journal> {
  const journal = await openJournalOn(store, { dir: "/fake", create: false, ...options });
  if (journal === undefined) throw new Error("there is no journal");
  return journal;
}

/** The same journal as an earlier version of the program has written it. */
const withoutIndex = (content: StoredEntries): SimulatedStore =>
  SimulatedStore.of(new Map([...content].filter(([key]) => !isIndexKey(key))));

async function numbers(journal: Journal, topic: string, range?: TransactionsRange): Promise<number[]> {
  const found: number[] = [];
  for await (const number of journal.transactionsOf(topic, range)) found.push(number);
  return found;
}

async function transaction(journal: Journal, topics: readonly string[], parts = 1): Promise<number> {
  const number = await journal.begin({ topics }, topics);
  for (let part = 0; part < parts; part += 1) await journal.part(number, part);
  await journal.prepare(number, "plan");
  await journal.commit(number);
  await journal.settle(number, "end");
  return number;
}

const ODD = ["/b\u0000\n!~", `/${"long/".repeat(1000)}`, "", "/\u{1f600}", "/B"];

/** Transactions of /a, /b and both, and a note on /a, with others in between; and one pending. */
async function fill(journal: Journal): Promise<Record<"a" | "b" | "both" | "note" | "open", number>> {
  const a = await transaction(journal, ["/a"]);
  const both = await transaction(journal, ["/b", "/a", "/b"]);
  for (const topic of ODD) await transaction(journal, [topic]);
  const note = await journal.note({ topics: ["/a"] }, ["/a"]);
  const pending = await journal.begin({ topics: ["/a"] }, ["/a"]);
  await journal.part(pending, "part");
  const b = await transaction(journal, ["/b"]);
  return { a, b, both, note, open: pending };
}

async function assertFound(journal: Journal, of: Awaited<ReturnType<typeof fill>>): Promise<void> {
  expect(await numbers(journal, "/a")).toEqual([of.a, of.both, of.note, of.open]);
  expect(await numbers(journal, "/a", { reverse: true })).toEqual([of.open, of.note, of.both, of.a]);
  expect(await numbers(journal, "/a", { from: of.both, to: of.note })).toEqual([of.both, of.note]);
  expect(await numbers(journal, "/a", { from: of.both + 1, to: of.note - 1, reverse: true })).toEqual([]);
  expect(await numbers(journal, "/b")).toEqual([of.both, of.b]);
  for (const topic of ODD) expect(await numbers(journal, topic)).toHaveLength(1);
  expect(await numbers(journal, "/c")).toEqual([]);
  const kinds = async (number: number): Promise<string[]> =>
    (await journal.recordsOf(number)).map(({ kind }) => kind);
  expect(await kinds(of.b)).toEqual(["begun", "prepared", "committed", "settled"]);
  expect(await kinds(of.open)).toEqual(["begun"]);
  expect(await kinds(of.note)).toEqual(["note"]);
  for (const none of [-1, 0, 1, of.a + 1, of.b + 1, 10_000]) expect(await kinds(none)).toEqual([]);
}

describe("the index finds the transactions of a topic, and the records of each,", () => {
  test("as they were written, in both orders and in a range", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const of = await fill(journal);
    await assertFound(journal, of);
    await assertFound(await open(store), of);
  });

  test("on LevelDB", async () => {
    const dir = await scratch();
    const journal = await openJournal(dir, { create: true });
    const of = await fill(journal);
    await assertFound(journal, of);
    await journal.close();
    await using again = await openJournal(dir, { create: false });
    await assertFound(again, of);
  });

  test("at a cost that depends neither on the length of the journal nor on the parts", async () => {
    const cost = async (others: number, parts: number): Promise<number> => {
      const store = new SimulatedStore();
      const journal = await open(store);
      for (let count = 0; count < others; count += 1) await transaction(journal, ["/other"], 2);
      const number = await transaction(journal, ["/a"], parts);
      for (let count = 0; count < others; count += 1) await transaction(journal, ["/other"], 2);
      store.reads = 0;
      expect(await numbers(journal, "/a")).toEqual([number]);
      await journal.recordsOf(number);
      return store.reads;
    };
    expect(await cost(50, 20)).toBe(await cost(1, 1));
  });

  test("and a topic that is none is refused before anything is written", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const { puts } = store;
    await expect(journal.begin("x", [7 as unknown as string])).rejects.toThrow(TypeError);
    expect(store.puts).toBe(puts);
    await journal.begin("x", ["/a"]);
  });

  test("and every record by its sequence, verified", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const number = await transaction(journal, ["/a"]);
    expect(await journal.record(number)).toMatchObject({ kind: "begun", body: { topics: ["/a"] } });
    expect(await journal.record(number + 1)).toMatchObject({ kind: "part", transaction: number });
    for (const none of [0, -1, 10_000]) expect(await journal.record(none)).toBeUndefined();
    await expect(journal.record(1.5)).rejects.toThrow(TypeError);
    const { content } = store;
    const key = logKeys(content)[number - 1] ?? "";
    (content.get(key) ?? new Uint8Array())[20] = 0xff;
    const damaged = await openWith(SimulatedStore.of(content));
    await expect(damaged.record(number)).rejects.toMatchObject({ code: "JOURNAL_DAMAGED" });
    await expect(damaged.recordsOf(number)).rejects.toMatchObject({ details: { sequence: number } });
    await expect(numbers(damaged, "/a")).rejects.toMatchObject({ details: { sequence: number } });
  });
});

describe("a journal of an earlier version", () => {
  test("gets its index when it is opened, the same that would have been written", async () => {
    const store = new SimulatedStore();
    const of = await fill(await open(store));
    const old = withoutIndex(store.content);
    await assertFound(await openWith(old, { topicsOf }), of);
    expect(sorted(old.content)).toEqual(sorted(store.content));
    // It is built once.
    const { puts } = old;
    await openWith(old, { topicsOf });
    expect(old.puts).toBe(puts);
  });

  test("that has written to it since has made it incomplete: it is built anew", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    await transaction(journal, ["/a"]);
    const { content } = store;
    const of = await fill(journal);
    const mixed = new Map([...store.content].filter(([key]) => !isIndexKey(key) || content.has(key)));
    const opened = await openWith(SimulatedStore.of(mixed), { topicsOf });
    expect(await numbers(opened, "/a")).toEqual([2, of.a, of.both, of.note, of.open]);
  });

  test("is folded over where nobody says what its topics are, or it is damaged", async () => {
    const store = new SimulatedStore();
    const of = await fill(await open(store));
    const unknown = await openWith(withoutIndex(store.content));
    expect((await unknown.recordsOf(of.b)).map(({ kind }) => kind)).toEqual([
      "begun",
      "prepared",
      "committed",
      "settled",
    ]);
    await expect(numbers(unknown, "/a")).rejects.toThrow(TypeError);
    const old = withoutIndex(store.content);
    old.fault = { error: new Error("not now"), written: false };
    await expect(openWith(old, { topicsOf })).rejects.toThrow("not now");
    const damaged = store.content;
    damaged.delete(logKeys(damaged)[of.both] ?? "");
    const journal = await openWith(withoutIndex(damaged), { topicsOf });
    await expect(numbers(journal, "/b")).rejects.toMatchObject({ code: "JOURNAL_DAMAGED" });
    expect(await numbers(journal, "/a", { to: of.a })).toEqual([of.a]);
  });

  test("power fails while its index is built: it is built when it is opened next", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    for (let count = 0; count < 600; count += 1) await transaction(journal, [`/${count % 3}`], 0);
    const all = store.content;
    const building = withoutIndex(all);
    await openWith(building, { topicsOf });
    const steps = building.log.length;
    expect(steps).toBeGreaterThan(3);
    for (let kept = 1; kept < steps; kept += 1) {
      const cut = new SimulatedStore(building.log.slice(0, kept));
      expect(await numbers(await openWith(cut, { topicsOf }), "/1")).toHaveLength(200);
      expect(sorted(cut.content)).toEqual(sorted(all));
    }
  });
});

describe("no entry is believed", () => {
  test("that another topic or another record would have", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const a = await transaction(journal, ["/a"]);
    const b = await transaction(journal, ["/b"]);
    const { content } = store;
    const [ofA = "", ofB = ""] = [a, b].map((number) =>
      [...content.keys()].find(
        (key) => key.startsWith("!t") && key.endsWith(number.toString(16).padStart(16, "0")),
      ),
    );
    // As if both topics had one hash, and as if a record had come in the place of another.
    const meeting = new Map(content).set(
      ofA.slice(0, -16) + ofB.slice(-16),
      content.get(ofB) ?? new Uint8Array(),
    );
    expect(await numbers(await openWith(SimulatedStore.of(meeting)), "/a")).toEqual([a]);
    const moved = new Map(content).set(
      ofA.slice(0, -16) + ofB.slice(-16),
      content.get(ofA) ?? new Uint8Array(),
    );
    expect(await numbers(await openWith(SimulatedStore.of(moved)), "/a")).toEqual([a]);
  });

  test("alone: a store without records is a damaged journal, not an empty one", async () => {
    const store = new SimulatedStore();
    await fill(await open(store));
    const alone = new Map([...store.content].filter(([key]) => isIndexKey(key)));
    await expect(openWith(SimulatedStore.of(alone), { create: true })).rejects.toMatchObject({
      code: "JOURNAL_DAMAGED",
    });
    const dir = await scratch();
    await (await openJournal(dir, { create: true })).close();
    await writeLevel(dir, alone);
    await expect(openJournal(dir, { create: true })).rejects.toMatchObject({ code: "JOURNAL_DAMAGED" });
    expect((await readLevel(dir)).size).toBe(alone.size);
  });
});
