import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Operation, openPool } from "../../src/index.ts";
import { poolIn, scratch } from "./lab.ts";
import { all } from "../support/all.ts";

describe("misuse is a TypeError that names what is wrong, and changes nothing:", () => {
  test.each([
    [undefined, /operations must be a list/],
    [[], /at least one operation/],
    [{ type: "create" }, /operations must be a list/],
    [["create"], /an operation must be an object/],
    [[{ type: "explode", image: "a" }], /unknown type "explode"/],
    [[{ type: "create", image: "a", name: "x", colour: "red" }], /unknown field "colour"/],
    [[{ type: "create", name: "x" }], /'image' must be a path/],
    [[{ type: "create", image: "", name: "x" }], /'image' must be a path/],
    [[{ type: "create", image: "a" }], /create needs a 'name'/],
    [[{ type: "create", image: "a", name: 7 }], /'name' must be a string/],
    [[{ type: "create", image: "a", name: "x", id: "1" }], /neither 'id' nor 'lookup'/],
    [[{ type: "create", image: "a", name: "x", force: 1 }], /'force' must be true or false/],
    [[{ type: "revert", image: "a" }], /either a 'name' or an 'id'/],
    [[{ type: "revert", image: "a", name: "x", id: "1" }], /either a 'name' or an 'id'/],
    [[{ type: "revert", image: "a", id: 1 }], /'id' must be a string/],
    [[{ type: "delete", image: "a", name: "x", force: true }], /'force' belongs to create/],
    [[{ type: "rename", image: "a", name: "x" }], /rename needs 'to'/],
    [[{ type: "rename", image: "a", to: "y" }], /either a 'name' or an 'id'/],
    [[{ type: "rename", image: "a", name: "x", to: "y", force: "yes" }], /'force' must be true or false/],
    [[{ type: "delete", image: "a", name: "x", to: "y" }], /'to' belongs to rename/],
    [[{ type: "delete", image: "a", name: "x", dropBitmaps: true }], /'dropBitmaps' belongs to revert/],
    [[{ type: "revert", image: "a", name: "x", dropBitmaps: 1 }], /'dropBitmaps' must be true or false/],
    [[{ type: "delete", image: "a", name: "x", lookup: "any" }], /'lookup' must be/],
    [[{ type: "delete", image: "a", id: "1", lookup: "first" }], /'lookup' goes with 'name'/],
  ])("%j", async (operations, message) => {
    const dir = await scratch("a.qcow2");
    const before = await readFile(join(dir, "a.qcow2"));
    const placed = Array.isArray(operations)
      ? operations.map((operation: unknown) =>
          typeof operation === "object" &&
          operation !== null &&
          "image" in operation &&
          operation.image === "a"
            ? { ...operation, image: join(dir, "a.qcow2") }
            : operation,
        )
      : operations;
    const pool = await poolIn(dir);
    const running = pool.run(placed as readonly Operation[]);
    await expect(running).rejects.toThrow(TypeError);
    await expect(running).rejects.toThrow(message);
    expect(before.equals(await readFile(join(dir, "a.qcow2")))).toBe(true);
    expect(await all(pool.history())).toEqual([]);
  });

  test("a pool without a directory", async () => {
    await expect(openPool("")).rejects.toThrow(TypeError);
    await expect(openPool(undefined as unknown as string)).rejects.toThrow(TypeError);
  });
});

describe("a snapshot that is not one snapshot is refused:", () => {
  test("a name that two have, with the candidates as data", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    await pool.create(image, "one", { force: true });
    await expect(pool.delete(image, "one")).rejects.toMatchObject({
      code: "SNAPSHOT_AMBIGUOUS",
      details: {
        candidates: [
          { id: "1", name: "one" },
          { id: "3", name: "one" },
        ],
      },
    });
    await pool.delete(image, { id: "3" });
    await pool.delete(image, "one");
  });

  test("a name or an id that none has, and one that exists when a new one is to have it", async () => {
    const dir = await scratch("a.qcow2");
    const image = join(dir, "a.qcow2");
    const pool = await poolIn(dir);
    await expect(pool.revert(image, "three")).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
    await expect(pool.revert(image, { id: "one" })).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
    await expect(pool.create(image, "one")).rejects.toMatchObject({ code: "SNAPSHOT_EXISTS" });
    for (const name of ["", "x".repeat(256), "ü".repeat(128), "a\0b", "\uD800"]) {
      await expect(pool.create(image, name), name).rejects.toMatchObject({ code: "SNAPSHOT_NAME_INVALID" });
    }
    await pool.create(image, "ü".repeat(127));
    await pool.create(image, "", { force: true });
    expect((await all(pool.history())).map(({ status }) => status)).toEqual(["done", "done"]);
  });
});
