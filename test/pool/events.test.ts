import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { HistoryEntry } from "../../src/index.ts";
import { all } from "../support/all.ts";
import { poolIn, scratch } from "./lab.ts";

describe("pool.on('transaction')", () => {
  test("tells each that ended, done, failed or refused, in order and as the history has it", async () => {
    const dir = await scratch("a.qcow2", "b.qcow2");
    const pool = await poolIn(dir);
    const heard: HistoryEntry[] = [];
    const listener = (entry: HistoryEntry): void => void heard.push(entry);
    expect(pool.on("transaction", listener)).toBe(pool);
    const image = join(dir, "a.qcow2");
    await Promise.all([pool.create(image, "x"), pool.create(join(dir, "b.qcow2"), "y")]);
    await expect(pool.create(image, "x")).rejects.toMatchObject({ code: "SNAPSHOT_EXISTS" });
    const aborted = AbortSignal.abort();
    await expect(pool.delete(image, "x", { signal: aborted })).rejects.toMatchObject({ code: "ABORTED" });
    await pool.delete(image, "x");
    const history = await all(pool.history());
    pool.off("transaction", listener);
    await pool.create(image, "unheard");
    await pool.close();
    expect(heard.map(({ status }) => status)).toEqual(["done", "done", "refused", "done"]);
    expect(heard.toSorted((a, b) => a.transaction - b.transaction)).toEqual(history);
  });

  test("a listener that throws stops neither the transaction nor the other listeners", async () => {
    const dir = await scratch("a.qcow2");
    const pool = await poolIn(dir);
    const heard: string[] = [];
    const warnings: string[] = [];
    const warned = (warning: Error): void => void warnings.push(warning.message);
    process.on("warning", warned);
    pool.on("transaction", () => {
      throw new Error("full");
    });
    pool.on("transaction", ({ status }) => void heard.push(status));
    await pool.create(join(dir, "a.qcow2"), "x");
    await pool.close();
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", warned);
    expect(heard).toEqual(["done"]);
    expect(warnings).toEqual([expect.stringContaining("a transaction listener failed: full")]);
  });

  test("knows no other event and no other kind of listener", async () => {
    const pool = await poolIn(await scratch());
    expect(() => pool.on("nothing" as "transaction", () => undefined)).toThrow(TypeError);
    expect(() => pool.on("transaction", "x" as unknown as () => void)).toThrow(TypeError);
  });
});
