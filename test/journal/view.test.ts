import { type PathLike } from "node:fs";
import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { type Journal, openJournal, readJournal } from "../../journal/index.ts";
import { tablesIn } from "../../journal/level-manifest.ts";
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

const MIB = 1024 * 1024;

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
    await expect(readJournal(dir, { patienceMs: 1_000, host: hostname() })).rejects.toMatchObject({
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

describe("the tables that a MANIFEST names", () => {
  test("are those that LevelDB keeps", async () => {
    const { dir, journal } = await held();
    await outgrow(journal, dir);
    await journal.close();
    const level = join(dir, "leveldb");
    const names = await readdir(level);
    const current = (await readFile(join(level, "CURRENT"), "utf8")).trim();
    const kept = names.filter((name) => name.endsWith(".ldb")).map((name) => Number.parseInt(name, 10));
    expect(kept.length).toBeGreaterThan(1);
    expect([...tablesIn(await readFile(join(level, current)))].toSorted((a, b) => a - b)).toEqual(
      kept.toSorted((a, b) => a - b),
    );
  });

  /** LevelDB's log format, written from its description. */
  function manifest(edits: readonly Uint8Array[]): Uint8Array {
    const out: Uint8Array[] = [];
    let at = 0;
    const put = (bytes: Uint8Array): void => {
      out.push(bytes);
      at += bytes.length;
    };
    for (const edit of edits) {
      for (let from = 0, first = true; first || from < edit.length; first = false) {
        if (32_768 - (at % 32_768) < 7) put(new Uint8Array(32_768 - (at % 32_768)));
        const room = 32_768 - (at % 32_768) - 7;
        const piece = edit.subarray(from, from + room);
        const isLast = from + piece.length === edit.length;
        const type = first ? (isLast ? 1 : 2) : isLast ? 4 : 3;
        put(Uint8Array.of(0, 0, 0, 0, piece.length & 0xff, piece.length >> 8, type));
        put(piece);
        from += piece.length;
      }
    }
    return new Uint8Array(Buffer.concat(out));
  }

  function varint(value: number): number[] {
    const bytes: number[] = [];
    let rest = value;
    for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
    return [...bytes, rest];
  }

  const key = (length: number): number[] => [...varint(length), ...Array.from({ length }, () => 0x61)];
  const added = (number: number): number[] => [
    7,
    ...varint(2),
    ...varint(number),
    ...varint(4 * MIB),
    ...key(24),
    ...key(24),
  ];
  const deleted = (number: number): number[] => [6, ...varint(1), ...varint(number)];

  test("are found over the borders of blocks, in one large edit and in many, whatever is cut off", () => {
    const numbers = Array.from({ length: 3_000 }, (_, index) => index * 7 + 5);
    const expected = [13, ...numbers.filter((number) => number % 3 !== 0)].toSorted((a, b) => a - b);
    const all = Uint8Array.from([
      1,
      ...key(26),
      2,
      ...varint(9_000_000_000),
      9,
      0,
      ...numbers.flatMap(added),
    ]);
    const away = numbers
      .filter((number) => number % 3 === 0)
      .map((number) => Uint8Array.from(deleted(number)));
    const moved = Uint8Array.from([5, 1, ...key(9), ...added(13), ...deleted(13), 3, 99, 4, 7]);
    const one = manifest([all, ...away, moved]);
    const many = manifest([
      ...numbers.map((number) => Uint8Array.from([...added(number), 3, ...varint(number + 1)])),
      ...away,
      moved,
    ]);
    expect(one.length).toBeGreaterThan(3 * 32_768);
    for (const file of [one, many]) expect([...tablesIn(file)].toSorted((a, b) => a - b)).toEqual(expected);
    for (let length = 0; length < many.length; length += 997) {
      expect(tablesIn(many.subarray(0, length)).size).toBeLessThanOrEqual(numbers.length);
    }
    expect(() => tablesIn(manifest([Uint8Array.of(77)]))).toThrow(RangeError);
    expect(() => tablesIn(manifest([Uint8Array.of(7, 0x80)]))).toThrow(RangeError);
  });
});
