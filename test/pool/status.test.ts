import { copyFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { writeImage } from "../../tools/image-maker/index.ts";
import { all } from "../support/all.ts";
import { snapshotDelete } from "../support/qemu.ts";
import { SPEC, poolIn, scratch } from "./lab.ts";

describe("pool.status", () => {
  test("an image that the record does not know matches nothing, and does not enter the record", async () => {
    const dir = await scratch("a.qcow2");
    const pool = await poolIn(dir);
    const status = await pool.status(join(dir, "a.qcow2"));
    expect(status).toMatchObject({ recorded: false, matches: false, observed: { what: "first seen" } });
    expect(await all(pool.history())).toEqual([]);
  });

  test("an image as recorded matches, and nothing is recorded", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    const { transaction } = await pool.create(image, "x");
    const status = await pool.status(image);
    expect(status).toMatchObject({ recorded: true, matches: true, newest: { transaction } });
    expect(status.snapshots.map(({ name }) => name)).toEqual(["one", "two", "x"]);
    expect(status).not.toHaveProperty("observed");
    expect(await all(pool.history())).toHaveLength(1);
  });

  test("what others did is told and recorded once, and the image then stands as recorded", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    await pool.create(image, "x");
    await snapshotDelete(image, "one");
    expect(await pool.status(image)).toMatchObject({ matches: false, observed: { what: "changed" } });
    expect(await pool.status(image)).toMatchObject({ matches: true });
    const entries = await all(pool.history(image));
    expect(entries.map(({ status }) => status)).toEqual(["done", "observed"]);
    expect(entries[1]?.images[0]?.observed?.snapshots.map(({ name }) => name)).toEqual(["two", "x"]);
  });

  test("list and check notice it too, and answer all the same", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    await pool.create(image, "x");
    await snapshotDelete(image, "one");
    expect((await pool.list(image)).map(({ name }) => name)).toEqual(["two", "x"]);
    await snapshotDelete(image, "two");
    expect(await pool.check(image)).toMatchObject({ corruptions: 0, leaks: 0 });
    await pool.list(image);
    const entries = await all(pool.history(image));
    expect(entries.map(({ status }) => status)).toEqual(["done", "observed", "observed"]);
    await pool.close();
    expect(await pool.list(image)).toHaveLength(1);
  });

  test("a moved image is known under its new path, a copy is not what it was copied from", async () => {
    const dir = await scratch("a.qcow2");
    const [image, moved, copy] = ["a.qcow2", "b.qcow2", "c.qcow2"].map((name) => join(dir, name)) as [
      string,
      string,
      string,
    ];
    const pool = await poolIn(dir);
    await pool.create(image, "x");
    await copyFile(image, copy);
    await rename(image, moved);
    expect(await pool.status(moved)).toMatchObject({
      recorded: true,
      observed: { what: "moved", from: image },
    });
    expect(await pool.status(moved)).toMatchObject({ matches: true });
    expect(await pool.status(copy)).toMatchObject({
      matches: false,
      observed: { what: "copied", from: moved },
    });
    expect(await all(pool.history(moved))).toHaveLength(2);
  });

  test("it needs an image", async () => {
    const dir = await scratch();
    await writeImage(join(dir, "a.qcow2"), SPEC);
    const pool = await poolIn(dir);
    await expect(pool.status(join(dir, "b.qcow2"))).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
  });
});
