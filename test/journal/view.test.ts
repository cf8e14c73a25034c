import { type PathLike } from "node:fs";
import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { type Journal, openJournal, readJournal } from "../../journal/index.ts";
import { scratch } from "./lab.ts";

type Calls = "copyFile" | "readFile" | "readdir" | "symlink";

/** What happens before the next call of a function of the file system on a path with this end. */
const before = vi.hoisted(() => ({
  call: undefined as string | undefined,
  end: "",
  action: async (): Promise<void> => Promise.resolve(),
  always: false,
  happened: 0,
}));

vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  const hooked =
    (name: Calls) =>
    async (path: PathLike, ...rest: unknown[]): Promise<unknown> => {
      if (before.call === name && String(path).endsWith(before.end)) {
        if (!before.always) before.call = undefined;
        before.happened += 1;
        await before.action();
      }
      return (real[name] as (...args: unknown[]) => Promise<unknown>)(path, ...rest);
    };
  return {
    ...real,
    copyFile: hooked("copyFile"),
    readFile: hooked("readFile"),
    readdir: hooked("readdir"),
    symlink: hooked("symlink"),
  };
});

beforeEach(() => Object.assign(before, { call: undefined, always: false, happened: 0 }));

const meanwhile = (call: Calls, end: string, action: () => Promise<void>, always = false): void =>
  void Object.assign(before, { call, end, action, always });

/** So much that LevelDB begins another log, makes a table of the old one, and deletes it. */
async function outgrow(journal: Journal, dir: string): Promise<void> {
  const logs = async (): Promise<string[]> =>
    (await readdir(join(dir, "leveldb"))).filter((name) => name.endsWith(".log"));
  const [old = ""] = await logs();
  for (let count = 0; count < 6; count += 1) {
    await journal.note(crypto.getRandomValues(new Uint8Array(65_536)));
    for (let part = 0; part < 13; part += 1) await journal.note(new Uint8Array(Buffer.alloc(65_536, part)));
  }
  while ((await logs()).includes(old)) await sleep(5);
}

async function held(): Promise<{ dir: string; journal: Journal }> {
  const dir = await scratch();
  const journal = await openJournal(dir, {
    create: true,
    holder: { host: hostname(), pid: process.pid, program: "test" },
  });
  await outgrow(journal, dir);
  return { dir, journal };
}

describe("while a reader looks at the files one by one, the holder", () => {
  test.each<readonly [string, Calls, string]>([
    ["the name of the MANIFEST is read", "readFile", "CURRENT"],
    ["the MANIFEST is read", "readFile", "MANIFEST-000004"],
    ["they are listed", "readdir", "leveldb"],
    ["a log is copied", "copyFile", ".log"],
  ])("writes so much before %s that files go: what the reader sees is whole", async (_what, call, end) => {
    const { dir, journal } = await held();
    const { records } = await journal.verify();
    meanwhile(call, end, () => outgrow(journal, dir));
    await using reader = await readJournal(dir);
    expect(before.happened).toBe(1);
    const verified = await reader.verify();
    expect(verified.records).toBeGreaterThanOrEqual(records);
    expect(reader.tornTail).toBeUndefined();
    expect((await journal.verify({ head: verified.head })).known?.sequence).toBe(verified.records);
    await journal.close();
  });

  test("closes it and another one opens it: the same", async () => {
    const { dir, journal } = await held();
    let next: Journal | undefined;
    meanwhile("readdir", "leveldb", async () => {
      await journal.close();
      next = await openJournal(dir, { create: false });
      await next.note("mine");
    });
    await using reader = await readJournal(dir);
    expect(await reader.verify()).toEqual(await next?.verify());
    await next?.close();
  });

  test("never leaves them alone: the reader ends after its time, and says who it is", async () => {
    const { dir, journal } = await held();
    meanwhile("copyFile", ".log", () => outgrow(journal, dir), true);
    const started = performance.now();
    await expect(readJournal(dir, { patienceMs: 3_000, host: hostname() })).rejects.toMatchObject({
      code: "JOURNAL_IN_USE",
      message: expect.stringContaining(`process ${process.pid} (test) on ${hostname()}`),
      details: { journal: dir },
    });
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(before.happened).toBeGreaterThan(1);
    await journal.close();
  });

  test("deletes tables that the reader has yet to read: they are there for it", async () => {
    const { dir, journal } = await held();
    const tables = async (): Promise<string[]> =>
      (await readdir(join(dir, "leveldb"))).filter((name) => name.endsWith(".ldb"));
    const seen = await tables();
    expect(seen.length).toBeGreaterThan(0);
    await using reader = await readJournal(dir);
    const { sequence } = reader.head;
    // As LevelDB does when it has joined them to others.
    for (const table of seen) await rm(join(dir, "leveldb", table));
    expect(await reader.verify()).toMatchObject({ records: sequence });
    await journal.close();
  });
});

test("a table that the holder is about to name is not written to, whatever number comes next", async () => {
  const { dir, journal } = await held();
  const level = join(dir, "leveldb");
  const names = new Set(await readdir(level));
  const unborn = Array.from({ length: 60 }, (_, number) => `${String(number).padStart(6, "0")}.ldb`)
    .filter((name) => !names.has(name))
    .map((name) => join(level, name));
  for (const path of unborn) await writeFile(path, "half a table");
  await using reader = await readJournal(dir);
  await reader.verify();
  await reader.close();
  for (const path of unborn) expect(await readFile(path, "utf8"), path).toBe("half a table");
  await journal.close();
});

test("where tables cannot be linked to what is open, they are copied", async () => {
  const { dir, journal } = await held();
  const { records } = await journal.verify();
  meanwhile("symlink", "", () => Promise.reject(Object.assign(new Error("no"), { code: "EPERM" })), true);
  await using reader = await readJournal(dir);
  expect(before.happened).toBeGreaterThan(0);
  expect(await reader.verify()).toMatchObject({ records });
  await journal.close();
});
