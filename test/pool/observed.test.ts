import { copyFile, link, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { HistoryEntry, Observation, Pool } from "../../src/index.ts";
import { makeImage, writeImage } from "../../tools/image-maker/index.ts";
import { all } from "../support/all.ts";
import { snapshotCreate, snapshotDelete } from "../support/qemu.ts";
import { SPEC, poolIn, scratch } from "./lab.ts";

/** What the newest transaction on the image saw that was not recorded. */
async function observed(pool: Pool, image: string): Promise<Observation | undefined> {
  const newest = (await all(pool.history(image))).at(-1) as HistoryEntry;
  return newest.images.find((candidate) => candidate.image === image)?.observed;
}

async function lab(): Promise<{ dir: string; image: string; pool: Pool }> {
  const dir = await scratch("a.qcow2");
  return { dir, image: join(dir, "a.qcow2"), pool: await poolIn(dir) };
}

describe("an image that is opened is compared with the record", () => {
  test("seen for the first time: its snapshots are listed with all their facts", async () => {
    const { image, pool } = await lab();
    await pool.create(image, "three");
    expect(await observed(pool, image)).toMatchObject({
      what: "first seen",
      snapshots: [
        { id: "1", name: "one", dateSec: 1_700_000_000, diskSize: 2 ** 20, vmStateSize: 0, vmClockNsec: "0" },
        { id: "2", name: "two" },
      ],
    });
  });

  test("as recorded: nothing is observed, after every operation and after a refusal", async () => {
    const { image, pool } = await lab();
    await pool.create(image, "x");
    await pool.revert(image, "one");
    await pool.delete(image, "two");
    await expect(pool.create(image, "x")).rejects.toMatchObject({ code: "SNAPSHOT_EXISTS" });
    await expect(
      pool.create(image, "y", {
        onProgress: ({ step }) => {
          if (step === "reserve") throw new Error("called off");
        },
      }),
    ).rejects.toThrow("called off");
    await pool.repair(image);
    await pool.create(image, "z");
    const [, ...later] = await all(pool.history(image));
    expect(later.map(({ status }) => status)).toEqual(["done", "done", "refused", "failed", "done", "done"]);
    expect(later.flatMap(({ images }) => images.map((entry) => entry.observed))).toEqual(
      later.map(() => undefined),
    );
  });

  test("others made and deleted snapshots: it has changed", async () => {
    const { image, pool } = await lab();
    await pool.create(image, "x");
    await snapshotDelete(image, "one");
    await snapshotCreate(image, "theirs");
    await pool.create(image, "y");
    const { what, snapshots, as } = (await observed(pool, image)) ?? {};
    expect({ what, as, names: snapshots?.map(({ name }) => name) }).toEqual({
      what: "changed",
      names: ["two", "x", "theirs"],
    });
  });

  test("a backup was written back into the file: it has changed, and stands as after that transaction", async () => {
    const { image, pool } = await lab();
    const { transaction } = await pool.create(image, "x");
    const backup = await readFile(image);
    await pool.create(image, "y");
    await writeFile(image, backup);
    await pool.delete(image, "one");
    expect(await observed(pool, image)).toMatchObject({ what: "changed", as: transaction });
  });

  test("a backup took the place of the file: it was replaced, and stands as after that transaction", async () => {
    const { dir, image, pool } = await lab();
    const { transaction } = await pool.create(image, "x");
    await copyFile(image, join(dir, "backup"));
    await pool.create(image, "y");
    await rename(join(dir, "backup"), image);
    await pool.delete(image, "one");
    expect(await observed(pool, image)).toMatchObject({ what: "replaced", as: transaction });
  });

  test("something else took its place: it was replaced", async () => {
    const { dir, image, pool } = await lab();
    await pool.create(image, "x");
    await writeImage(join(dir, "b.qcow2"), { ...SPEC, snapshots: [] });
    await rename(join(dir, "b.qcow2"), image);
    await pool.create(image, "y");
    expect(await observed(pool, image)).toMatchObject({ what: "replaced", snapshots: [] });
    expect(await observed(pool, image)).not.toHaveProperty("as");
  });

  test("it was moved, also over another image", async () => {
    const { dir, image, pool } = await lab();
    const other = join(dir, "b.qcow2");
    await writeImage(other, { ...SPEC, snapshots: [] });
    await pool.create(image, "x");
    await pool.create(other, "theirs");
    await rename(image, other);
    await pool.create(other, "y");
    const { what, from, snapshots } = (await observed(pool, other)) ?? {};
    expect({ what, from, names: snapshots?.map(({ name }) => name) }).toEqual({
      what: "moved",
      from: image,
      names: ["one", "two", "x"],
    });
  });

  test("it has a second name: that is said, and both names share the history", async () => {
    const { dir, image, pool } = await lab();
    await pool.create(image, "x");
    await link(image, join(dir, "b.qcow2"));
    await pool.create(join(dir, "b.qcow2"), "y");
    expect(await observed(pool, join(dir, "b.qcow2"))).toMatchObject({ what: "linked", from: image });
    expect(await all(pool.history(join(dir, "b.qcow2")))).toHaveLength(2);
  });

  test("it is a copy: it says of what, and since when, also where the origin is gone", async () => {
    const { dir, image, pool } = await lab();
    const { transaction } = await pool.create(image, "x");
    for (const name of ["b.qcow2", "c.qcow2"]) await copyFile(image, join(dir, name));
    await pool.create(image, "y");
    await pool.create(join(dir, "b.qcow2"), "z");
    const origin = { what: "copied", from: image, as: transaction };
    expect(await observed(pool, join(dir, "b.qcow2"))).toMatchObject(origin);
    expect(await observed(pool, join(dir, "b.qcow2"))).not.toHaveProperty("fromGone");
    expect(await all(pool.history(join(dir, "b.qcow2")))).toHaveLength(1);
    await rm(image);
    await pool.create(join(dir, "c.qcow2"), "z");
    expect(await observed(pool, join(dir, "c.qcow2"))).toMatchObject({ ...origin, fromGone: true });
  });

  test("a new image in a place where another was deleted is not taken for the old one", async () => {
    const { dir, image, pool } = await lab();
    await pool.create(image, "x");
    await rm(image);
    await writeFile(join(dir, "b.qcow2"), makeImage({ ...SPEC, snapshots: [] }));
    await pool.create(join(dir, "b.qcow2"), "y");
    expect(await observed(pool, join(dir, "b.qcow2"))).toMatchObject({ what: "first seen" });
  });
});
