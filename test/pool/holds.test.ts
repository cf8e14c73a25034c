import { rename } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { listSnapshots } from "../../src/index.ts";
import { all } from "../support/all.ts";
import { poolIn, scratch } from "./lab.ts";

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

test("a hold goes with a moved image, and not to the next snapshot of the same name and id", async () => {
  const dir = await scratch("a.qcow2");
  const [a, b] = [join(dir, "a.qcow2"), join(dir, "b.qcow2")];
  const pool = await poolIn(dir);
  await pool.create(a, "three");
  await pool.hold(a, "three");
  await rename(a, b);
  await expect(pool.delete(b, "three")).rejects.toMatchObject({ code: "SNAPSHOT_HELD" });
  await pool.run([{ type: "delete", image: b, name: "three", evenIfHeld: true }]);
  await pool.create(b, "three");
  await pool.delete(b, "three");
  await expect(pool.hold(b, "three")).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
  await expect(pool.hold(b, "one", { tag: "" })).rejects.toThrow(TypeError);
});
