import { describe, expect, test } from "vitest";
import { type Journal, type Retention, openJournal, openJournalOn } from "../../journal/index.ts";
import { SimulatedStore, type StoredEntries } from "../support/simulated-store.ts";
import { fill, logKeys, open, partsOf, scratch, sorted } from "./lab.ts";

const keyOf = (sequence: number): string => sequence.toString(16).padStart(16, "0");

async function transaction(journal: Journal, parts: readonly unknown[]): Promise<number> {
  const number = await journal.begin("x", ["/a"]);
  for (const part of parts) await journal.part(number, part);
  await journal.prepare(number, "plan");
  await journal.commit(number);
  await journal.settle(number, "end");
  return number;
}

async function kindsOf(journal: Journal, number: number): Promise<string[]> {
  return (await journal.recordsOf(number)).map(({ kind }) => kind);
}

describe("a compaction", () => {
  test("drops the parts of what is over, of nothing else, and the chain still verifies", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const of = await fill(journal);
    const before = await journal.verify();
    const report = await journal.compact({ by: "me" });
    expect(report).toMatchObject({ dryRun: false, transactions: 2, records: 4 });
    expect(report.sizeAfter).toBe(await store.size());
    for (const opened of [journal, await open(store)]) {
      // Four parts gave way to two stubs, and a record was added.
      const after = await opened.verify();
      expect(after).toMatchObject({ records: before.records - 4 + 1, dropped: 4 });
      for (const gone of [of["settled"] ?? 0, of["aborted"] ?? 0]) {
        await expect(partsOf(opened, gone)).rejects.toMatchObject({
          code: "JOURNAL_COMPACTED",
          message: expect.stringContaining("2023-11-14"),
          details: { transaction: gone, time: 1_700_000_000_000 },
        });
        await expect(opened.record(gone + 1)).rejects.toMatchObject({ code: "JOURNAL_COMPACTED" });
        await expect(opened.record(gone + 2)).rejects.toMatchObject({ code: "JOURNAL_COMPACTED" });
        expect(await opened.compactionOf(gone)).toMatchObject({ time: 1_700_000_000_000 });
      }
      expect(await kindsOf(opened, of["settled"] ?? 0)).toEqual([
        "begun",
        "prepared",
        "committed",
        "settled",
      ]);
      for (const kept of ["begun", "prepared", "committed"]) {
        expect(await partsOf(opened, of[kept] ?? 0), kept).toHaveLength(2);
        expect(await opened.compactionOf(of[kept] ?? 0)).toBeUndefined();
      }
    }
    expect(logKeys(store.content)).toHaveLength(before.records - 4 + 2 + 1);
    // The stubs and the record, in one put that no power cut takes.
    expect(store.synced).toBe(store.puts);
    const again = store.puts;
    expect(await journal.compact()).toMatchObject({ transactions: 0, records: 0, bytes: 0 });
    expect(store.puts).toBe(again);
  });

  test("of which nothing but the plan is asked writes nothing and says the same", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    await fill(journal);
    const { puts } = store;
    const { transactions, records, bytes } = await journal.compact({ dryRun: true });
    expect(store.puts).toBe(puts);
    expect(await journal.compact()).toMatchObject({ transactions, records, bytes });
  });

  test("keeps the newest, and what is not old enough", async () => {
    const store = new SimulatedStore();
    let now = 0;
    const journal = await openJournalOn(store, { dir: "/fake", create: true, now: () => now });
    if (journal === undefined) throw new Error("no journal was made");
    const numbers: number[] = [];
    for (now = 100; now < 600; now += 100) numbers.push(await transaction(journal, ["part"]));
    const left = async (): Promise<number> => {
      let count = 0;
      for (const number of numbers) if ((await journal.compactionOf(number)) === undefined) count += 1;
      return count;
    };
    await journal.compact({ keepTransactions: 5 });
    expect(await left()).toBe(5);
    await journal.compact({ olderThan: 200 });
    expect(await left()).toBe(4);
    await journal.compact({ keepTransactions: 3, olderThan: 600 });
    expect(await left()).toBe(3);
    await journal.compact({ keepTransactions: 1, olderThan: 400 });
    expect(await left()).toBe(2);
    await expect(journal.compact({ keepTransactions: -1 })).rejects.toThrow(TypeError);
    await expect(journal.compact({ olderThan: Number.NaN })).rejects.toThrow(TypeError);
    await journal.verify();
  });

  test("of transactions that ran side by side keeps them apart", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const [a, b, c] = [await journal.begin("a"), await journal.begin("b"), await journal.begin("c")];
    for (let part = 0; part < 3; part += 1) for (const one of [a, b, c]) await journal.part(one, [one, part]);
    await journal.part(a, "one more");
    await journal.part(a, "and another");
    for (const one of [a, c]) {
      await journal.prepare(one, "plan");
      await journal.abort(one);
    }
    await journal.compact();
    for (const opened of [journal, await open(store)]) {
      await opened.verify();
      expect(await partsOf(opened, b)).toEqual([0, 1, 2].map((part) => [b, part]));
      await expect(partsOf(opened, a)).rejects.toMatchObject({ code: "JOURNAL_COMPACTED" });
      await expect(partsOf(opened, c)).rejects.toMatchObject({ code: "JOURNAL_COMPACTED" });
    }
    await journal.abort(b);
    await journal.compact();
    await (await open(store)).verify();
    await expect(partsOf(journal, b)).rejects.toMatchObject({ code: "JOURNAL_COMPACTED" });
  });

  test("leaves a log that can be read from anywhere to anywhere", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const number = await transaction(journal, [1, 2, 3]);
    await transaction(journal, [4, 5]);
    const all: number[] = [];
    for await (const { sequence } of journal.records()) all.push(sequence);
    await journal.compact({ keepTransactions: 1 });
    const last = (await journal.info()).records;
    const dropped = [number + 1, number + 2, number + 3];
    const left = [...all, last].filter((sequence) => !dropped.includes(sequence));
    for (let from = 1; from <= last; from += 1) {
      for (let to = from; to <= last; to += 1) {
        const found: number[] = [];
        for await (const { sequence } of journal.records({ from, to })) found.push(sequence);
        expect(found, `${from} to ${to}`).toEqual(left.filter((at) => at >= from && at <= to));
      }
    }
  });

  test("may run while others append, and is waited for when the journal is closed", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const old = [await transaction(journal, [1, 2]), await transaction(journal, [3])];
    const running = transaction(journal, [4, 5, 6]);
    const report = journal.compact();
    const fresh = await running;
    const closing = journal.close();
    expect(await report).toMatchObject({ transactions: old.length });
    await closing;
    const again = await open(store);
    await again.verify();
    expect(await partsOf(again, fresh)).toEqual([4, 5, 6]);
  });

  test("stops at what does not verify, and drops nothing of it", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const number = await transaction(journal, [1, 2, 3]);
    await transaction(journal, [4]);
    const { content } = store;
    (content.get(keyOf(number + 2)) ?? new Uint8Array())[30] = 0xff;
    const damaged = SimulatedStore.of(content);
    await expect((await open(damaged)).compact()).rejects.toMatchObject({
      code: "JOURNAL_DAMAGED",
      details: { sequence: number + 2 },
    });
    expect(sorted(damaged.content)).toEqual(sorted(content));
  });
});

describe("what was dropped without saying so is damage that is named:", () => {
  async function compacted(): Promise<{
    content: Map<string, Uint8Array>;
    whole: StoredEntries;
    stub: number;
  }> {
    const store = new SimulatedStore();
    const journal = await open(store);
    const number = await transaction(journal, [1, 2, 3]);
    await transaction(journal, [4]);
    const whole = store.content;
    await journal.compact({ keepTransactions: 1 });
    await journal.note("after");
    return { content: store.content, whole, stub: number + 1 };
  }
  const verdict = async (content: StoredEntries): Promise<string> => {
    try {
      await (await open(SimulatedStore.of(content))).verify();
      return "fine";
    } catch (error) {
      const { code, details } = error as { code?: string; details?: { sequence?: number } };
      if (code === undefined) throw error;
      return `${code} ${details?.sequence}`;
    }
  };

  test("a stub that no compaction names", async () => {
    const { content, whole, stub } = await compacted();
    // The log as it was before, with the stub, but without the record of the compaction.
    const forged = new Map(whole).set(keyOf(stub), content.get(keyOf(stub)) ?? new Uint8Array());
    for (const part of [stub + 1, stub + 2]) forged.delete(keyOf(part));
    const journal = await open(SimulatedStore.of(forged));
    await expect(journal.verify()).rejects.toThrow(
      new RegExp(`record ${stub} was dropped, with those to ${stub + 2}, and no record of a compaction`),
    );
    // Whoever reads the whole history hears of it as well.
    const read = async (): Promise<void> => {
      for await (const record of journal.records()) void record;
    };
    await expect(read()).rejects.toMatchObject({ code: "JOURNAL_DAMAGED" });
  });

  test("a compaction whose stub is missing, or whose parts are there", async () => {
    const { content, whole, stub } = await compacted();
    const without = new Map(content);
    without.delete(keyOf(stub));
    expect(await verdict(without)).toBe(`JOURNAL_DAMAGED ${stub}`);
    const restored = new Map(content);
    for (let part = stub; part < stub + 3; part += 1) {
      restored.set(keyOf(part), whole.get(keyOf(part)) ?? new Uint8Array());
    }
    expect(await verdict(restored)).toBe(`JOURNAL_DAMAGED ${stub}`);
  });

  test("one bit flipped in any byte of a stub, or a stub of any other length", async () => {
    const { content, stub } = await compacted();
    const value = content.get(keyOf(stub)) ?? new Uint8Array();
    expect(await verdict(content)).toBe("fine");
    for (let at = 0; at < value.length; at += 1) {
      const edited = value.slice();
      edited[at] = (edited[at] ?? 0) ^ (1 << (at % 8));
      expect(await verdict(new Map(content).set(keyOf(stub), edited)), `byte ${at}`).toMatch(
        /^JOURNAL_DAMAGED/,
      );
      expect(await verdict(new Map(content).set(keyOf(stub), value.slice(0, at)))).toMatch(
        /^JOURNAL_DAMAGED/,
      );
    }
    expect(await verdict(new Map(content).set(keyOf(stub), Uint8Array.of(...value, 0)))).toMatch(
      /^JOURNAL_DAMAGED/,
    );
  });

  test("the end of the log cut off behind a stub", async () => {
    const { content, stub } = await compacted();
    const cut = new Map([...content].filter(([key]) => key <= keyOf(stub)));
    await expect(open(SimulatedStore.of(cut))).rejects.toMatchObject({
      code: "JOURNAL_DAMAGED",
      details: { sequence: stub },
    });
  });
});

describe("the journal keeps itself small:", () => {
  const SMALL: Retention = { keepTransactions: 10, maxBytes: 100_000, slack: 5 };
  const openSmall = async (store: SimulatedStore): Promise<Journal> => {
    const journal = await openJournalOn(store, { dir: "/fake", create: true, retention: SMALL });
    if (journal === undefined) throw new Error("no journal was made");
    return journal;
  };

  test("after so many transactions while it is open, and never those that are pending", async () => {
    const store = new SimulatedStore();
    const journal = await openSmall(store);
    const pending = await journal.begin("pending");
    await journal.part(pending, "kept");
    let most = 0;
    for (let count = 0; count < 100; count += 1) {
      await transaction(journal, [count]);
      most = Math.max(most, (await journal.info()).intents.transactions);
    }
    // With one always pending it waits for four times the slack.
    expect(most).toBeLessThanOrEqual(10 + 5 * 4 + 1);
    expect(await partsOf(journal, pending)).toEqual(["kept"]);
    expect((await journal.info()).compacted.compactions).toBeLessThan(100 / 5);
    await journal.verify();
  });

  test("when it is closed, if something has ended", async () => {
    const store = new SimulatedStore();
    for (let count = 0; count < 40; count += 1) {
      const journal = await openSmall(store);
      await transaction(journal, [count]);
      await journal.close();
    }
    const { puts } = store;
    const reader = await openSmall(store);
    const { intents, compacted } = await reader.info();
    expect(intents.transactions).toBeLessThan(15);
    expect(intents.transactions).toBeGreaterThanOrEqual(10);
    expect(compacted.transactions).toBe(40 - intents.transactions);
    await reader.verify();
    await reader.close();
    expect(store.puts).toBe(puts);
  });

  test("by bytes as well: what is too large does not stay because it is new", async () => {
    const store = new SimulatedStore();
    const journal = await openSmall(store);
    for (let count = 0; count < 8; count += 1) await transaction(journal, [new Uint8Array(30_000)]);
    await transaction(
      journal,
      Array.from({ length: 5 }, () => new Uint8Array(50_000)),
    );
    await journal.close();
    expect((await (await openSmall(store)).info()).intents.bytes).toBeLessThanOrEqual(SMALL.maxBytes);
  });

  test("and a failure of that is nobody's failure", async () => {
    const store = new SimulatedStore();
    const journal = await openSmall(store);
    for (let count = 0; count < 4; count += 1) await transaction(journal, [count]);
    const { content } = store;
    (content.get(keyOf(3)) ?? new Uint8Array())[20] = 0xff;
    const damaged = SimulatedStore.of(content);
    const again = await openSmall(damaged);
    for (let count = 0; count < 30; count += 1) await transaction(again, [count]);
    await again.close();
    expect(damaged.closed).toBe(true);
    expect((await (await openSmall(damaged)).info()).intents.transactions).toBe(34);
  });
});

test("on LevelDB the space is given back, and the next to open it has no long log to replay", async () => {
  const dir = await scratch();
  const journal = await openJournal(dir, { create: true });
  const noise = Uint8Array.from({ length: 200_000 }, (_, index) => (index * 2_654_435_761) >>> 11);
  for (let count = 0; count < 40; count += 1) {
    await transaction(journal, [noise.map((byte) => byte ^ count), noise]);
  }
  const before = await journal.info();
  const report = await journal.compact();
  expect(report).toMatchObject({ transactions: 40, records: 80 });
  expect(report.sizeBefore).toBeGreaterThan(2_000_000);
  expect(report.sizeAfter).toBeLessThan(report.sizeBefore / 4);
  await journal.close();
  await using again = await openJournal(dir, { create: false });
  const after = await again.info();
  expect(after).toMatchObject({
    journal: dir,
    id: before.id,
    transactions: 40,
    topics: 1,
    pending: 0,
    records: before.records + 1,
    intents: { transactions: 0, bytes: 0 },
    compacted: { compactions: 1, transactions: 40, records: 80, bytes: report.bytes },
  });
  expect(after.size).toBeLessThan(1_000_000);
  expect(await again.verify()).toMatchObject({ dropped: 80, head: after.head });
});
