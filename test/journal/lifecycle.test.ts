import { describe, expect, test } from "vitest";
import { openJournal } from "../../journal/index.ts";
import { SimulatedStore } from "../support/simulated-store.ts";
import { fill, open, partsOf, scratch, states } from "./lab.ts";

describe("a journal on LevelDB", () => {
  test("gives back after reopening what was written before, and goes on from there", async () => {
    const dir = await scratch();
    const first = await openJournal(dir, { create: true });
    const { begun, prepared, committed } = await fill(first);
    const pending = first.pending();
    expect(states(first)).toEqual({
      [begun ?? 0]: "begun",
      [prepared ?? 0]: "prepared",
      [committed ?? 0]: "committed",
    });
    const { records, head } = await first.verify();
    await first.close();

    await using again = await openJournal(dir, { create: false });
    expect(again.id).toBe(first.id);
    expect(again.pending()).toEqual(pending);
    expect(again.tornTail).toBeUndefined();
    expect(await again.verify()).toMatchObject({ records, head });
    expect(await partsOf(again, committed ?? 0)).toEqual([
      ["committed", 1],
      ["committed", new Uint8Array([1, 2, 3])],
    ]);
    await again.settle(committed ?? 0);
    await again.abort(prepared ?? 0);
    await again.abort(begun ?? 0);
    const next = await again.begin("next");
    expect(next).toBe(records + 4);
    expect(states(again)).toEqual({ [next]: "begun" });
  });

  test("is not made when it should be there already, and an empty folder is not one", async () => {
    const dir = await scratch();
    await expect(openJournal(dir, { create: false })).rejects.toMatchObject({ code: "JOURNAL_NOT_FOUND" });
    await expect(openJournal(`${dir}/none`, { create: false })).rejects.toMatchObject({
      code: "JOURNAL_NOT_FOUND",
    });
    await using made = await openJournal(`${dir}/deep/down`, { create: true });
    expect(made.dir).toBe(`${dir}/deep/down`);
  });

  test("holds large and many parts in order", async () => {
    const dir = await scratch();
    const parts = Array.from({ length: 40 }, (_, index) => new Uint8Array(500_000).fill(index));
    const journal = await openJournal(dir, { create: true });
    const transaction = await journal.begin("large");
    // Without waiting: appends keep the order of the calls.
    await Promise.all(parts.map((part) => journal.part(transaction, part)));
    await journal.prepare(transaction, null);
    await journal.close();
    await using again = await openJournal(dir, { create: false });
    const found = await partsOf(again, transaction);
    expect(found).toHaveLength(parts.length);
    for (const [index, part] of parts.entries()) {
      expect(Buffer.compare(part, found[index] as Uint8Array), `part ${index}`).toBe(0);
    }
  });
});

describe("the journal refuses", () => {
  test("what no transaction may do, before it writes", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const transaction = await journal.begin("x");
    const before = store.puts;
    await expect(journal.commit(transaction)).rejects.toThrow(/committed of transaction 2, which is begun/);
    await expect(journal.settle(transaction)).rejects.toThrow(/settled of transaction 2/);
    await expect(journal.part(99, "x")).rejects.toThrow(/part of transaction 99, which is not pending/);
    await journal.prepare(transaction, "x");
    await expect(journal.part(transaction, "late")).rejects.toThrow(
      /part of transaction 2, which is prepared/,
    );
    await journal.commit(transaction);
    await expect(journal.abort(transaction)).rejects.toThrow(/aborted of transaction 2, which is committed/);
    expect(store.puts).toBe(before + 2);
    await expect(journal.verify()).resolves.toMatchObject({ records: 4 });
  });

  test("a record over 1 MiB, as misuse, and goes on", async () => {
    const journal = await open(new SimulatedStore());
    const transaction = await journal.begin("x");
    await expect(journal.part(transaction, new Uint8Array(1_200_000))).rejects.toThrow(TypeError);
    await expect(journal.part(transaction, new Uint8Array(1_000_000))).resolves.toBeUndefined();
  });

  test("everything after it was closed; closing waits for what was asked before", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const asked = journal.begin("x");
    await journal.close();
    await expect(asked).resolves.toBe(2);
    await journal.close();
    expect(store.closed).toBe(true);
    await expect(journal.begin("y")).rejects.toMatchObject({ code: "POOL_CLOSED" });
  });

  test("everything after a failed write: nobody knows what is on disk before it is opened again", async () => {
    for (const written of [true, false]) {
      const store = new SimulatedStore();
      const journal = await open(store);
      const transaction = await journal.begin("x");
      const error = new Error("no space");
      store.fault = { error, written };
      await expect(journal.prepare(transaction, "plan")).rejects.toBe(error);
      store.fault = undefined;
      await expect(journal.abort(transaction)).rejects.toMatchObject({
        code: "IO_FAILED_EARLIER",
        cause: error,
      });
      await journal.close();
      const again = await open(store);
      expect(states(again)).toEqual({ [transaction]: written ? "prepared" : "begun" });
      await again.abort(transaction);
    }
  });
});

test("opening costs what is pending, not what ever happened", async () => {
  const reads = async (settled: number): Promise<number> => {
    const store = new SimulatedStore();
    const journal = await open(store);
    for (let count = 0; count < settled; count += 1) {
      const transaction = await journal.begin("x");
      await journal.part(transaction, "part");
      await journal.prepare(transaction, "plan");
      await journal.commit(transaction);
      await journal.settle(transaction);
    }
    const pending = await journal.begin("pending");
    await journal.part(pending, "part");
    store.reads = 0;
    expect(states(await open(store))).toEqual({ [pending]: "begun" });
    return store.reads;
  };
  expect(await reads(60)).toBe(await reads(3));
});
