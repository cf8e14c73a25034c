import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type HistoryEntry, openHistory, openPool } from "../../src/index.ts";
import { all } from "../support/all.ts";
import { snapshotCreate, snapshotDelete } from "../support/qemu.ts";
import { expectClean, scratch } from "./lab.ts";

const IMAGES = ["a.qcow2", "b.qcow2", "c.qcow2"];

/** What others, aborted and failed operations, and compactions leave between the operations of a pool. */
async function work(dir: string, isReopened: boolean): Promise<unknown[]> {
  const [a = "", b = "", c = ""] = IMAGES.map((name) => join(dir, name));
  const open = () => openPool(join(dir, ".qcowal"), { program: "test" });
  let pool = await open();
  const steps = [
    () => pool.create(a, "x"),
    () => pool.run([a, b].map((image) => ({ type: "create", image, name: "both" }))),
    () => snapshotDelete(a, "x"),
    () => pool.create(a, "y"),
    () => snapshotCreate(b, "theirs"),
    () => pool.list(b),
    () => pool.hold(b, "theirs"),
    () => pool.delete(b, "theirs").catch(({ code }: { code: string }) => code),
    () => pool.release(b, "theirs"),
    () => pool.compact(),
    () => pool.delete(b, "theirs"),
    () =>
      pool
        .revert(a, "both", {
          onProgress: ({ step }) => {
            if (step === "reserve") throw new Error("called off");
          },
        })
        .catch(({ message }: Error) => message),
    () => pool.revert(a, "both"),
    () => copyFile(a, c),
    () => pool.create(c, "of a copy"),
    () => pool.check(c),
    () => pool.undo(c),
  ];
  for (const step of steps) {
    await step();
    if (!isReopened) continue;
    await pool.close();
    pool = await open();
  }
  const entries = await all(pool.history());
  await using record = await openHistory(join(dir, ".qcowal"));
  expect(await all(record.entries())).toEqual(entries);
  await pool.close();
  for (const image of [a, b, c]) await expectClean(image);
  return entries.map((entry) => told(entry, dir));
}

/** Without what is another one each time. */
function told({ transaction, status, code, images }: HistoryEntry, dir: string): unknown {
  const seen = images.map(({ image, observed, outcomes }) => [
    image.slice(dir.length),
    outcomes.map(({ type }) => type),
    observed && {
      ...observed,
      from: observed.from?.slice(dir.length),
      snapshots: observed.snapshots.length,
      digest: "",
    },
  ]);
  return { transaction, status, code, seen };
}

test("an open pool records the same as one that is opened anew for each operation", async () => {
  const [kept, reopened] = await Promise.all(
    [false, true].map(async (isReopened) => work(await scratch(...IMAGES), isReopened)),
  );
  expect(kept).toEqual(reopened);
  expect(JSON.stringify(kept)).toMatch(/"changed".*"copied"/s);
});
