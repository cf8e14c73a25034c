import { access, link, readFile, rename, rm, symlink } from "node:fs/promises";
import { join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { listSnapshots, openPool, planOperations } from "../../src/index.ts";
import { expectClean, poolIn, scratch } from "./lab.ts";
import { all } from "../support/all.ts";

const names = async (path: string): Promise<string[]> => (await listSnapshots(path)).map(({ name }) => name);

describe("a pool", () => {
  test("creates, reverts, deletes and remembers", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    const created = await pool.create(image, "three", { actor: "me", reason: "because" });
    expect(created).toMatchObject({
      journal: join(dir, ".qcowal"),
      images: [{ image, outcomes: [{ type: "create", snapshot: { id: "3", name: "three" } }] }],
      recovered: [],
    });
    await pool.revert(image, { id: "1" });
    await pool.delete(image, "two");
    expect((await pool.list(image)).map(({ id, name }) => `${id} ${name}`)).toEqual(["1 one", "3 three"]);
    expect(await all(pool.history())).toMatchObject([
      { transaction: created.transaction, status: "done", actor: { name: "me" }, reason: "because" },
      { status: "done", operations: [{ type: "revert", id: "1" }] },
      { status: "done", operations: [{ type: "delete", name: "two" }] },
    ]);
    expect(await pool.recover()).toEqual({ recovered: [], failed: [] });
    await expectClean(image);
  });

  test("runs what is asked for at once one after the other on one image, side by side on several", async () => {
    const files = ["a.qcow2", "b.qcow2", "c.qcow2"];
    const dir = await scratch(...files);
    const pool = await poolIn(dir);
    const wanted = Array.from({ length: 8 }, (_, index) => `s${index}`);
    await Promise.all(wanted.flatMap((name) => files.map((file) => pool.create(join(dir, file), name))));
    for (const file of files) {
      // The order of the calls is the order of the snapshots.
      expect(await names(join(dir, file))).toEqual(["one", "two", ...wanted]);
      await expectClean(join(dir, file));
    }
    await Promise.all(
      wanted.map((name, index) =>
        index % 2 === 0
          ? pool.delete(join(dir, "a.qcow2"), name)
          : pool.run(files.map((file) => ({ type: "revert", image: join(dir, file), name }))),
      ),
    );
    for (const file of files) await expectClean(join(dir, file));
    expect(await names(join(dir, "a.qcow2"))).toEqual(["one", "two", "s1", "s3", "s5", "s7"]);
  });

  test("closes after what was asked for, once, and then does nothing more", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await openPool(join(dir, ".qcowal"));
    const asked = pool.create(image, "three");
    await Promise.all([pool.close(), pool.close()]);
    await expect(asked).resolves.toMatchObject({ images: [{ image }] });
    for (const action of [
      () => pool.create(image, "four"),
      () => all(pool.history()),
      () => pool.recover(),
      () => pool.run([]),
    ]) {
      await expect(action()).rejects.toMatchObject({ code: "POOL_CLOSED" });
    }
    expect(await names(image)).toEqual(["one", "two", "three"]);
  });

  test("lets the next one in when it is disposed of", async () => {
    const dir = await scratch("a.qcow2");
    {
      await using pool = await openPool(join(dir, ".qcowal"));
      await expect(openPool(join(dir, ".qcowal"), { waitMs: 50 })).rejects.toMatchObject({
        code: "JOURNAL_IN_USE",
      });
      await pool.create(join(dir, "a.qcow2"), "three");
    }
    await using again = await openPool(join(dir, ".qcowal"), { waitMs: 0, create: false });
    expect(await all(again.history())).toHaveLength(1);
  });
});

describe("a dry run", () => {
  test("returns the plan as data and writes neither image nor record", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    const before = await readFile(image);
    const plan = await pool.run([{ type: "delete", image, name: "one" }], { dryRun: true });
    expect(plan.dryRun).toBe(true);
    expect(plan.images[0]).toMatchObject({ image, outcomes: [{ snapshot: { name: "one" } }] });
    expect(plan.images[0]?.phases.switch).toMatchObject([{ kind: "header" }]);
    const { images } = await pool.run([{ type: "delete", image, name: "one" }]);
    expect(images[0]?.summary).toEqual(plan.images[0]?.summary);
    expect(before.equals(await readFile(image))).toBe(false);
    expect(await all(pool.history())).toHaveLength(1);
  });

  test("needs no journal and makes none, as listing", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    await planOperations([{ type: "revert", image, name: "one" }]);
    await listSnapshots(image);
    await expect(access(join(dir, ".qcowal"))).rejects.toThrow(/ENOENT/);
  });
});

describe("an image", () => {
  test("is one, whichever path leads to it", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    await symlink(image, join(dir, "link"));
    const pool = await poolIn(dir);
    const report = await pool.run([
      { type: "create", image: join(dir, "link"), name: "x" },
      { type: "create", image: relative(process.cwd(), image), name: "y" },
    ]);
    expect(report.images).toHaveLength(1);
    expect(await names(join(dir, "link"))).toEqual(["one", "two", "x", "y"]);
    for (const path of [image, join(dir, "link"), relative(process.cwd(), image), `${dir}/./a.qcow2`]) {
      expect(await all(pool.history(path)), path).toHaveLength(1);
    }
    await rm(image);
    expect(await all(pool.history(image))).toHaveLength(1);
    expect(await all(pool.history(join(dir, "other")))).toEqual([]);
  });

  test("with two names is one file all the same: the second name finds it in use, not free to write", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    await link(image, join(dir, "hard"));
    const pool = await poolIn(dir);
    await expect(
      pool.run([
        { type: "create", image, name: "x" },
        { type: "create", image: join(dir, "hard"), name: "y" },
      ]),
    ).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    expect(await names(image)).toEqual(["one", "two"]);
    await expectClean(image);
  });

  test("that was moved keeps its history, and its old path has what happened there", async () => {
    const dir = await scratch("a.qcow2");
    const pool = await poolIn(dir);
    await pool.create(join(dir, "a.qcow2"), "x");
    await rename(join(dir, "a.qcow2"), join(dir, "b.qcow2"));
    await pool.create(join(dir, "b.qcow2"), "y");
    expect(await all(pool.history(join(dir, "a.qcow2")))).toHaveLength(1);
    const [x, y] = await all(pool.history(join(dir, "b.qcow2")));
    expect(x).toMatchObject({ operations: [{ name: "x" }] });
    expect(y).toMatchObject({
      operations: [{ name: "y" }],
      images: [{ observed: { what: "moved", from: join(dir, "a.qcow2") } }],
    });
  });
});
