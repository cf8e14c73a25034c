import { join } from "node:path";
import { expect, test } from "vitest";
import { openJournal } from "../../journal/index.ts";
import { expectClean, poolIn, scratch } from "./lab.ts";
import { all } from "../support/all.ts";

test("a compaction leaves the history as it was, says who asked for it, and operations go on", async () => {
  const dir = await scratch("a.qcow2", "b.qcow2");
  const [a, b] = [join(dir, "a.qcow2"), join(dir, "b.qcow2")];
  const pool = await poolIn(dir);
  await pool.create(a, "three", { reason: "before the upgrade" });
  await pool.run([
    { type: "delete", image: a, name: "one" },
    { type: "create", image: b, name: "three" },
  ]);
  await pool.revert(b, "two");
  const [history, ofB] = [await all(pool.history()), await all(pool.history(b))];
  expect(await pool.journalInfo()).toMatchObject({
    journal: join(dir, ".qcowal"),
    transactions: 3,
    topics: 2,
    pending: 0,
    intents: { transactions: 3 },
    compacted: { compactions: 0 },
  });
  const plan = await pool.compact({ keepTransactions: 1, dryRun: true });
  expect(plan).toMatchObject({ dryRun: true, transactions: 2 });
  expect((await pool.journalInfo()).intents.transactions).toBe(3);
  const report = await pool.compact({ keepTransactions: 1, actor: "ops", reason: "disk full" });
  expect(report).toMatchObject({ dryRun: false, transactions: 2, records: plan.records, bytes: plan.bytes });
  expect(await all(pool.history())).toEqual(history);
  expect(await all(pool.history(b))).toEqual(ofB);
  await pool.create(a, "four");
  await expectClean(a);
  expect(await pool.journalInfo()).toMatchObject({
    transactions: 4,
    intents: { transactions: 2 },
    compacted: { compactions: 1, transactions: 2, records: report.records },
  });
  await expect(pool.compact({ keepTransactions: 0.5 })).rejects.toThrow(TypeError);
  await pool.close();

  await using journal = await openJournal(join(dir, ".qcowal"), { create: false });
  const bodies: unknown[] = [];
  for await (const { kind, body } of journal.records()) if (kind === "compacted") bodies.push(body);
  expect(bodies).toMatchObject([{ by: { actor: { name: "ops", program: "test" }, reason: "disk full" } }]);
});

test("each image finds its transactions in the index", async () => {
  const dir = await scratch("a.qcow2", "b.qcow2");
  const [a, b] = [join(dir, "a.qcow2"), join(dir, "b.qcow2")];
  const pool = await poolIn(dir);
  const first = await pool.create(a, "three");
  const both = await pool.run([a, b].map((image) => ({ type: "create", image, name: "four" }) as const));
  await pool.close();
  await using journal = await openJournal(join(dir, ".qcowal"), { create: false });
  const found = async (image: string): Promise<number[]> => {
    const numbers: number[] = [];
    for await (const number of journal.transactionsOf(image)) numbers.push(number);
    return numbers;
  };
  expect(await found(a)).toEqual([first.transaction, both.transaction]);
  expect(await found(b)).toEqual([both.transaction]);
  expect((await journal.recordsOf(both.transaction)).map(({ kind }) => kind)).toEqual([
    "begun",
    "prepared",
    "committed",
    "settled",
  ]);
});
