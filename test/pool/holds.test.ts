import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Operation, listSnapshots, planHold, planOperations } from "../../src/index.ts";
import { all } from "../support/all.ts";
import { expectClean, poolIn, scratch } from "./lab.ts";

const names = async (path: string): Promise<string[]> => (await listSnapshots(path)).map(({ name }) => name);

test("a held snapshot is neither deleted nor pruned until it is released, or with evenIfHeld", async () => {
  const dir = await scratch("a.qcow2");
  const image = join(dir, "a.qcow2");
  const pool = await poolIn(dir);
  await pool.hold(image, "one", { reason: "audit", actor: "me" });
  await pool.hold(image, "one", { tag: "backup" });
  await pool.hold(image, { id: "2" });
  const refused = { code: "SNAPSHOT_HELD", details: { name: "one", tags: ["hold", "backup"] } };
  await expect(pool.delete(image, "one")).rejects.toMatchObject(refused);
  await expect(pool.run([{ type: "delete", image, id: "1" }], { dryRun: true })).rejects.toMatchObject(
    refused,
  );
  await pool.prune([image], { maxSpace: 0, all: true });
  expect(await names(image)).toEqual(["one", "two"]);
  await expect(pool.release(image, "one", { tag: "other" })).rejects.toMatchObject({
    code: "SNAPSHOT_NOT_HELD",
  });
  await pool.release(image, "one");
  await expect(pool.delete(image, "one")).rejects.toMatchObject({ code: "SNAPSHOT_HELD" });
  await pool.compact({ keepTransactions: 0 });
  await pool.release(image, "one", { tag: "backup" });
  await pool.delete(image, "one");
  await pool.run([{ type: "delete", image, name: "two", evenIfHeld: true }]);
  expect(await names(image)).toEqual([]);
  expect((await all(pool.history(image))).map(({ status }) => status)).toEqual([
    "observed",
    "held",
    "held",
    "held",
    "refused",
    "released",
    "refused",
    "released",
    "done",
    "done",
  ]);
});

test("a hold goes with a renamed snapshot and a moved image, and not to the next snapshot of the same name and id", async () => {
  const dir = await scratch("a.qcow2");
  const [a, b] = [join(dir, "a.qcow2"), join(dir, "b.qcow2")];
  const pool = await poolIn(dir);
  await pool.create(a, "three");
  await pool.hold(a, "three");
  await pool.rename(a, "three", "third");
  await rename(a, b);
  await expect(pool.delete(b, "third")).rejects.toMatchObject({ code: "SNAPSHOT_HELD" });
  await pool.run([{ type: "delete", image: b, name: "third", evenIfHeld: true }]);
  await pool.create(b, "three");
  await pool.delete(b, "three");
  await expect(pool.hold(b, "three")).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
  await expect(pool.hold(b, "one", { tag: "" })).rejects.toThrow(TypeError);
});

test("a hold is seen wherever in a batch the delete stands, and by a dry run without a pool", async () => {
  const dir = await scratch("a.qcow2");
  const image = join(dir, "a.qcow2");
  const pool = await poolIn(dir);
  const journal = pool.journal;
  const batch: Operation[] = [
    { type: "revert", image, name: "one", keep: "before" },
    { type: "delete", image, name: "two" },
  ];
  await expect(planOperations(batch, { journal })).resolves.toMatchObject({ dryRun: true });
  await pool.hold(image, "two");
  const refused = { code: "SNAPSHOT_HELD", details: { name: "two" } };
  await expect(pool.run(batch)).rejects.toMatchObject(refused);
  await expect(planOperations(batch, { journal })).rejects.toMatchObject(refused);
  await expect(planOperations(batch)).resolves.toMatchObject({ dryRun: true });
  const moved = join(dir, "moved.qcow2");
  await rename(image, moved);
  await expect(
    planOperations([{ type: "delete", image: moved, id: "2" }], { journal }),
  ).rejects.toMatchObject(refused);
  expect(await names(moved)).toEqual(["one", "two"]);
});

test("a repair gives up no held snapshot, whether it can be read or not even its entry, unless it is told to", async () => {
  const dir = await scratch("a.qcow2", "b.qcow2");
  const [a, b] = [join(dir, "a.qcow2"), join(dir, "b.qcow2")];
  const pool = await poolIn(dir);
  await pool.hold([a, b], "two");
  const bytes = await readFile(a);
  const table = Number(bytes.readBigUInt64BE(64));
  // The L1 table of the first one is at an odd place.
  bytes.writeBigUInt64BE(0x200n, table);
  await writeFile(a, bytes);
  const give = { dropDamagedSnapshots: true } as const;
  await pool.repair(a, give);
  expect(await names(a)).toEqual(["two"]);
  const again = await readFile(a);
  again.writeBigUInt64BE(0x200n, Number(again.readBigUInt64BE(64)));
  await writeFile(a, again);
  // The whole table of the other image lies behind the end of its file, and is nowhere.
  const lost = await readFile(b);
  lost.fill(0, Number(lost.readBigUInt64BE(64)), Number(lost.readBigUInt64BE(64)) + 200);
  lost.writeBigUInt64BE(2n ** 40n, 64);
  await writeFile(b, lost);
  for (const [image, before] of [
    [a, again],
    [b, lost],
  ] as const) {
    const refused = { code: "SNAPSHOT_HELD", details: { path: image, name: "two", tags: ["hold"] } };
    await expect(pool.repair(image, give)).rejects.toMatchObject(refused);
    await expect(
      planOperations([{ type: "repair", image, ...give }], { journal: pool.journal }),
    ).rejects.toMatchObject(refused);
    expect(before.equals(await readFile(image))).toBe(true);
    await pool.repair(image, { ...give, evenIfHeld: true });
    expect(await names(image)).toEqual([]);
    await expectClean(image);
  }
});

test("a hold of several images is recorded for none of them where one refuses", async () => {
  const dir = await scratch("a.qcow2", "b.qcow2");
  const [a, b] = [join(dir, "a.qcow2"), join(dir, "b.qcow2")];
  const pool = await poolIn(dir);
  await pool.create(a, "three");
  const count = async (): Promise<number> => (await all(pool.history())).length;
  const before = await count();
  await expect(pool.hold([a, b], "three")).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
  expect(await count()).toBe(before);
  const dry = await pool.hold([a, b], "one", { dryRun: true, tag: "x" });
  expect(dry).toMatchObject({ dryRun: true, tag: "x", images: [{ image: a }, { image: b }] });
  expect(await planHold(pool.journal, "hold", [a, b], "one", { tag: "x" })).toEqual(dry);
  expect(await count()).toBe(before);
  const held = await pool.hold([a, b, a], "one", { tag: "x" });
  const last = await all(pool.history(undefined, { last: 3 }));
  const numbers = last.filter(({ status }) => status === "held").map(({ transaction }) => transaction);
  expect(held).toEqual({
    ...dry,
    dryRun: false,
    images: dry.images.map((one, index) => ({ ...one, transaction: numbers[index] })),
  });
  await pool.release(b, "one", { tag: "x" });
  await expect(pool.release([a, b], "one", { tag: "x" })).rejects.toMatchObject({
    code: "SNAPSHOT_NOT_HELD",
    details: { path: b },
  });
  await expect(pool.delete(a, "one")).rejects.toMatchObject({ code: "SNAPSHOT_HELD" });
  await pool.delete(b, "one");
});

test("a hold of a moved image is released under its new name", async () => {
  const dir = await scratch("a.qcow2");
  const [a, b] = [join(dir, "a.qcow2"), join(dir, "b.qcow2")];
  const pool = await poolIn(dir);
  await pool.hold(a, "one");
  await rename(a, b);
  await pool.release(b, "one");
  await pool.delete(b, "one");
});
