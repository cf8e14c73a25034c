import { join } from "node:path";
import { expect, test } from "vitest";
import { openHistory, openPool } from "../../src/index.ts";
import { all } from "../support/all.ts";
import { poolIn, scratch } from "./lab.ts";

test("a history opened beside its pool shows what the pool would, as it was then", async () => {
  const dir = await scratch("a.qcow2", "b.qcow2");
  const [a, b] = [join(dir, "a.qcow2"), join(dir, "b.qcow2")];
  const pool = await poolIn(dir);
  await pool.create(a, "x", { reason: "first" });
  await pool.create(b, "x");
  const then = await all(pool.history());
  await using record = await openHistory(join(dir, ".qcowal"));
  await pool.create(a, "y");
  expect(await all(record.entries())).toEqual(then);
  expect(await all(record.entries(a))).toEqual((await all(pool.history(a))).slice(0, 1));
  expect(record.journal.dir).toBe(pool.journal);
  const { head } = record.journal;
  expect(await record.journal.verify({ head: head.digest })).toMatchObject({ known: { since: 0 } });
  await record.close();
  await record.close();
  await expect(all(record.entries())).rejects.toMatchObject({ code: "POOL_CLOSED" });
  // The pool has held it all the time.
  await expect(openPool(join(dir, ".qcowal"), { waitMs: 0 })).rejects.toMatchObject({
    code: "JOURNAL_IN_USE",
  });
  await pool.delete(b, "x");
});

test("without a directory it is misuse, without a journal an error", async () => {
  const dir = await scratch();
  await expect(openHistory("")).rejects.toThrow(TypeError);
  await expect(openHistory(undefined as unknown as string)).rejects.toThrow(TypeError);
  await expect(openHistory(dir)).rejects.toMatchObject({ code: "JOURNAL_NOT_FOUND" });
});
