import { copyFile, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { type Pool, listSnapshots, planPrune } from "../../src/index.ts";
import { all } from "../support/all.ts";
import { expectClean, poolIn, scratch } from "./lab.ts";

const names = async (path: string): Promise<string[]> => (await listSnapshots(path)).map(({ name }) => name);

async function nightly(pool: Pool, image: string, ...wanted: readonly string[]): Promise<void> {
  for (const name of wanted) await pool.create(image, name, { auto: true });
}

describe("prune", () => {
  test("counts no snapshot that was deleted recoverably, and removes it when its time is over", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    await nightly(pool, image, "n1", "n2", "n3");
    await pool.delete(image, "n2", { recoverableFor: 1 });
    await pool.delete(image, "n3", { recoverableFor: 3_600_000 });
    // Past the first one's second: names have no fraction of it.
    await setTimeout(1100);
    const { images, failed } = await pool.prune([image], { keepLast: 1 });
    expect(failed).toEqual([]);
    expect(await names(image)).toEqual([
      "one",
      "two",
      "n1",
      expect.stringMatching(/^\.deleted\/.*\/n3$/) as unknown,
    ]);
    expect(images[0]?.verdicts.map(({ keep, reasons }) => [keep, reasons.join()]).slice(-2)).toEqual([
      [false, expect.stringMatching(/^deleted, was kept until /) as unknown],
      [true, expect.stringMatching(/^deleted, kept until /) as unknown],
    ]);
    await expectClean(image);
    await pool.close();
  });

  test("removes in one transaction what no rule keeps, and only what a schedule took", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    await nightly(pool, image, "n1", "n2", "n3");
    await pool.create(image, "by-hand");
    await nightly(pool, image, "n4");
    const before = await readFile(image);
    const plan = await pool.prune([image], { keepLast: 2 }, { dryRun: true });
    expect(await planPrune(join(dir, ".qcowal"), [image], { keepLast: 2 })).toEqual(plan);
    expect(before.equals(await readFile(image))).toBe(true);
    const { images, failed } = await pool.prune(
      [image],
      { keepLast: 2 },
      { reason: "nightly", actor: "timer" },
    );
    expect(failed).toEqual([]);
    expect(images[0]).toMatchObject({
      image,
      verdicts: plan.images[0]?.verdicts,
      bytesFreed: plan.images[0]?.bytesFreed,
    });
    expect(await names(image)).toEqual(["one", "two", "n3", "by-hand", "n4"]);
    const history = await all(pool.history(image));
    expect(history).toHaveLength(6);
    expect(history.at(-1)).toMatchObject({
      transaction: images[0]?.transaction,
      operations: [
        { type: "delete", id: "3" },
        { type: "delete", id: "4" },
      ],
      reason: "nightly",
      actor: { name: "timer" },
    });
    expect((await pool.tree(image)).nodes.map(({ auto }) => auto ?? false)).toEqual([
      false,
      false,
      true,
      true,
      true,
      false,
      true,
    ]);
    await expectClean(image);
    const again = await pool.prune([image], { keepLast: 2 });
    expect(again.images[0]).not.toHaveProperty("transaction");
    expect(await all(pool.history(image))).toHaveLength(6);
  });

  test("with 'all' also removes what a person or qemu-img took", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    await pool.prune([image], { keepLast: 1, all: true });
    expect(await names(image)).toHaveLength(1);
    await expectClean(image);
  });

  test("takes no snapshot for an automatic one because it has the name and the id of one", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    await nightly(pool, image, "n1", "n2");
    await pool.delete(image, "n2");
    await pool.create(image, "n2");
    await pool.prune([image], { keepLast: 1 });
    await nightly(pool, image, "n3");
    await pool.prune([image], { keepLast: 1 });
    expect(await names(image)).toEqual(["one", "two", "n2", "n3"]);
  });

  test("knows what is automatic in an image that was moved or copied", async () => {
    const dir = await scratch("a.qcow2");
    const [a, b, c] = ["a", "b", "c"].map((name) => join(dir, `${name}.qcow2`)) as [string, string, string];
    const pool = await poolIn(dir);
    await nightly(pool, a, "n1", "n2");
    await rename(a, b);
    await copyFile(b, c);
    await pool.prune([b], { keepLast: 1 });
    expect(await names(b)).toEqual(["one", "two", "n2"]);
    // Whoever made the copy may want all of it.
    await pool.prune([c], { keepLast: 1 });
    expect(await names(c)).toEqual(["one", "two", "n1", "n2"]);
  });

  test("goes on behind an image that it cannot prune, but with 'group' does all or nothing", async () => {
    const dir = await scratch("a.qcow2", "b.qcow2");
    const [a, b] = ["a", "b"].map((name) => join(dir, `${name}.qcow2`)) as [string, string];
    const pool = await poolIn(dir);
    for (const image of [a, b]) await nightly(pool, image, "n1", "n2");
    const bytes = await readFile(a);
    const { truncate } = await import("node:fs/promises");
    await truncate(a, 10);
    await expect(pool.prune([a, b], { keepLast: 1 }, { group: true })).rejects.toMatchObject({
      code: "IMAGE_NOT_QCOW2",
    });
    expect(await names(b)).toEqual(["one", "two", "n1", "n2"]);
    const { images, failed } = await pool.prune([a, b], { keepLast: 1 });
    expect(failed).toMatchObject([{ image: a, error: { code: "IMAGE_NOT_QCOW2" } }]);
    expect(images.map(({ image }) => image)).toEqual([b]);
    expect(await names(b)).toEqual(["one", "two", "n2"]);
    await writeFile(a, bytes);
    await nightly(pool, b, "n3");
    const grouped = await pool.prune([a, b], { keepLast: 1 }, { group: true });
    expect(new Set(grouped.images.map(({ transaction }) => transaction)).size).toBe(1);
    expect(await names(a)).toEqual(["one", "two", "n2"]);
    expect(await names(b)).toEqual(["one", "two", "n3"]);
  });

  test("planned with 'group' is one plan: of all images, or refused", async () => {
    const dir = await scratch("a.qcow2", "b.qcow2");
    const [a, b] = ["a", "b"].map((name) => join(dir, `${name}.qcow2`)) as [string, string];
    const pool = await poolIn(dir);
    for (const image of [a, b]) await nightly(pool, image, "n1", "n2");
    const policy = { keepLast: 1 };
    const plan = await planPrune(pool.journal, [a, b], policy, { group: true });
    expect(plan.images.map(({ image }) => image)).toEqual([a, b]);
    expect(plan).toEqual(await pool.prune([a, b], policy, { group: true, dryRun: true }));
    const missing = join(dir, "missing.qcow2");
    await writeFile(missing, "no image");
    expect((await planPrune(pool.journal, [a, missing], policy)).failed).toMatchObject([{ image: missing }]);
    await expect(planPrune(pool.journal, [a, missing], policy, { group: true })).rejects.toMatchObject({
      code: "IMAGE_NOT_QCOW2",
    });
  });

  test("removes no more than the plan that somebody agreed to, and what that may still lose", async () => {
    const dir = await scratch("a.qcow2", "b.qcow2");
    const [a, b] = ["a", "b"].map((name) => join(dir, `${name}.qcow2`)) as [string, string];
    const pool = await poolIn(dir);
    for (const image of [a, b]) await nightly(pool, image, "n1", "n2", "n3");
    const policy = { keepLast: 1 };
    const agreed = await planPrune(pool.journal, [a], policy);
    await nightly(pool, a, "n4");
    await pool.hold(a, "n1");
    const { images } = await pool.prune([a, b], policy, { agreed });
    expect(await names(a)).toEqual(["one", "two", "n1", "n3", "n4"]);
    expect(await names(b)).toEqual(["one", "two", "n1", "n2", "n3"]);
    expect(images[0]?.verdicts.map(({ reasons }) => reasons.join()).slice(-3)).toEqual([
      "no rule keeps it",
      "not in the plan that was agreed to",
      "last 1 of 1",
    ]);
    await expectClean(a);
  });

  test("frees space, the oldest first, and nothing where there is enough", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    await pool.prune([image], { maxSpace: "1G", all: true });
    expect(await names(image)).toEqual(["one", "two"]);
    const { images } = await pool.prune([image], { maxSpace: 0, all: true });
    expect(await names(image)).toEqual([]);
    expect(images[0]?.bytesFreed).toBeGreaterThan(0);
    await expectClean(image);
  });

  test("refuses a policy without a rule before anything else", async () => {
    const pool = await poolIn(await scratch());
    await expect(pool.prune(["/missing"], {})).rejects.toThrow(/no rule/);
    await expect(pool.prune(["/missing"], { keepLast: 1 })).rejects.toMatchObject({
      code: "IMAGE_NOT_FOUND",
    });
    await expect(pool.run([{ type: "delete", image: "x", name: "y", auto: true } as never])).rejects.toThrow(
      /'auto' is true or absent, and belongs to create/,
    );
  });
});
