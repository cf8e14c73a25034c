import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { type JournalReader, openJournal, readJournal } from "../../journal/index.ts";
import { fill, partsOf, scratch, states } from "./lab.ts";

const ROOT = resolve(import.meta.dirname, "../..");

/** Everything below a directory: path, size, time of change and inode. */
async function snapshotOf(dir: string): Promise<Record<string, string>> {
  const names = await readdir(dir, { recursive: true });
  const found: Record<string, string> = {};
  for (const name of names.toSorted()) {
    const { size, mtimeNs, ctimeNs, ino } = await stat(join(dir, name), { bigint: true });
    found[name] = [size, mtimeNs, ctimeNs, ino].join(" ");
  }
  return found;
}

const VIEW = "qcowal-reader-";

/** What readers have left; tests of this file make their views in a directory of their own. */
let views = "";
beforeEach(async () => {
  views = join(await scratch(), "tmp");
  await mkdir(views);
  vi.stubEnv("TMPDIR", views);
  onTestFinished(async () => {
    vi.unstubAllEnvs();
    expect(tmpdir()).not.toBe(views);
    await rm(views, { recursive: true, force: true });
  });
});

async function left(): Promise<string[]> {
  return (await readdir(views)).filter((name) => name.startsWith(VIEW));
}

describe("a journal that nobody holds", () => {
  test("reads as it would be opened, and can be opened meanwhile", async () => {
    const dir = await scratch();
    const journal = await openJournal(dir, { create: true });
    const { committed = 0 } = await fill(journal);
    const pending = journal.pending();
    const verified = await journal.verify();
    await journal.close();

    const reader = await readJournal(dir);
    expect(reader).toMatchObject({ dir, id: journal.id, tornTail: undefined });
    expect(reader.pending()).toEqual(pending);
    expect(await reader.verify()).toEqual(verified);
    expect(await partsOf(reader, committed)).toEqual([
      ["committed", 1],
      ["committed", new Uint8Array([1, 2, 3])],
    ]);
    const [view = ""] = await left();
    expect((await stat(join(views, view))).mode & 0o777).toBe(0o700);
    // A reader keeps nobody waiting.
    await using other = await openJournal(dir, { create: false, waitMs: 0 });
    expect(other.id).toBe(reader.id);
    await reader.close();
    await reader.close();
    expect(await left()).toEqual([]);
    await other.close();
    for (const method of ["begin", "prepare", "note"]) expect(method in reader).toBe(false);
  });

  test("is not touched by reading", async () => {
    const dir = await scratch();
    const journal = await openJournal(dir, { create: true });
    await fill(journal);
    await journal.close();
    const before = await snapshotOf(dir);
    await using reader = await readJournal(dir);
    await reader.verify();
    await reader.close();
    expect(await snapshotOf(dir)).toEqual(before);
  });

  test("is not there: said as by every other command, and none is made", async () => {
    const dir = await scratch();
    await expect(readJournal(dir)).rejects.toMatchObject({ code: "JOURNAL_NOT_FOUND" });
    await expect(readJournal(join(dir, "none"))).rejects.toMatchObject({ code: "JOURNAL_NOT_FOUND" });
    expect(await readdir(dir)).toEqual([]);
    expect(await left()).toEqual([]);
  });

  test.each([
    ["CURRENT names nothing", "CURRENT", "MANIFEST-999999\n"],
    ["CURRENT is garbage", "CURRENT", "../../etc/passwd"],
    ["the manifest is garbage", "MANIFEST", "garbage garbage garbage"],
    ["the manifest is cut off", "MANIFEST", ""],
  ])("%s: the error names the journal, and no copy of it is left", async (_what, file, text) => {
    const dir = await scratch();
    const journal = await openJournal(dir, { create: true });
    await fill(journal);
    await journal.close();
    const level = join(dir, "leveldb");
    const name = (await readdir(level)).find((candidate) => candidate.startsWith(file)) ?? "";
    await writeFile(join(level, name), text);
    const error: unknown = await readJournal(dir).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: expect.stringMatching(/JOURNAL_DAMAGED|IO_FAILED/),
      message: expect.stringContaining(dir),
    });
    expect((error as Error).message).not.toContain(VIEW);
    expect(await left()).toEqual([]);
  });

  test("a table that is missing is damage, not an older journal", async () => {
    const dir = await scratch();
    for (let life = 0; life < 3; life += 1) {
      const journal = await openJournal(dir, { create: true });
      await journal.note(life);
      await journal.close();
    }
    const level = join(dir, "leveldb");
    const table = (await readdir(level)).find((name) => name.endsWith(".ldb")) ?? "";
    await rm(join(level, table));
    await expect(readJournal(dir)).rejects.toMatchObject({
      code: "JOURNAL_DAMAGED",
      message: expect.stringContaining(join(dir, "leveldb")),
    });
  });

  test("nowhere to make a view: said, with what to do", async () => {
    const dir = await scratch();
    await (await openJournal(dir, { create: true })).close();
    vi.stubEnv("TMPDIR", join(views, "none"));
    await expect(readJournal(dir)).rejects.toMatchObject({
      code: "IO_FAILED",
      message: expect.stringMatching(/Nothing was changed.*TMPDIR/),
    });
  });
});

describe("a journal that this process holds", () => {
  test("is read as it was when the reader came, and stays held", async () => {
    const dir = await scratch();
    await using journal = await openJournal(dir, { create: true });
    await journal.begin("first");
    await using reader = await readJournal(dir);
    await journal.begin("second");
    expect(states(reader)).toEqual({ 2: "begun" });
    expect(await reader.verify()).toMatchObject({ records: 2 });
    const other = await tryInProcess(dir);
    expect(other).toBe("JOURNAL_IN_USE");
  });

  test("stays held when it is opened a second time here", async () => {
    const dir = await scratch();
    const journal = await openJournal(dir, { create: true });
    await expect(openJournal(dir, { create: true, waitMs: 0 })).rejects.toMatchObject({
      code: "JOURNAL_IN_USE",
    });
    expect(await tryInProcess(dir)).toBe("JOURNAL_IN_USE");
    await journal.close();
    await (await openJournal(dir, { create: true, waitMs: 0 })).close();
  });
});

/** What another process hears that wants the journal. */
async function tryInProcess(dir: string): Promise<string> {
  const script = `import { openJournal } from ${JSON.stringify(join(ROOT, "journal/index.ts"))};
const opened = await openJournal(${JSON.stringify(dir)}, { create: false, waitMs: 0 }).catch((error) => error.code);
console.log(typeof opened === "string" ? opened : "opened");`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  return line;
}

test("a process that ends while it reads leaves nothing", async () => {
  const dir = await scratch();
  await (await openJournal(dir, { create: true })).close();
  const script = `import { readJournal } from ${JSON.stringify(join(ROOT, "journal/index.ts"))};
const reader = await readJournal(${JSON.stringify(dir)});
await reader.verify();
process.exit(7);`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
    cwd: ROOT,
    stdio: "inherit",
  });
  expect(await once(child, "exit")).toEqual([7, null]);
  expect(await left()).toEqual([]);
});

describe("a journal that another process writes to without a pause", () => {
  interface Appender {
    readonly child: ChildProcess;
    /** Transactions that it has ended. */
    readonly ended: () => number;
  }

  async function appender(dir: string): Promise<Appender> {
    const child = spawn(
      process.execPath,
      ["--import", "tsx", join(import.meta.dirname, "appender.ts"), dir],
      {
        cwd: ROOT,
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    onTestFinished(() => void child.kill("SIGKILL"));
    let ended = 0;
    const lines = createInterface(child.stdout);
    lines.on("line", (line) => (ended = Number(line)));
    await once(lines, "line");
    return { child, ended: () => ended };
  }

  /** Every transaction that had ended when we came is there, in its last state, and the chain verifies. */
  async function countIn(reader: JournalReader): Promise<number> {
    let settled = 0;
    for await (const { kind } of reader.records()) if (kind === "settled") settled += 1;
    return settled;
  }

  test("each reader sees all that was there when it came, whatever the files do meanwhile", async () => {
    const dir = await scratch();
    const { child, ended } = await appender(dir);
    // That the files move under the readers is what this test is about.
    const logs = new Set<string>();
    let readers = 0;
    for (; readers < 8 || logs.size < 6; readers += 1) {
      const before = ended();
      const reader = await readJournal(dir);
      expect(reader.tornTail).toBeUndefined();
      for (const name of await readdir(join(dir, "leveldb"))) if (name.endsWith(".log")) logs.add(name);
      // Tables that the holder deletes while we read are still ours.
      if (readers % 4 === 0) await sleep(60);
      expect(await countIn(reader)).toBeGreaterThanOrEqual(before);
      await reader.close();
    }
    expect(child.exitCode).toBeNull();
    expect(await left()).toEqual([]);
    child.kill("SIGKILL");
    await once(child, "exit");
    await using own = await openJournal(dir, { create: false, waitMs: 0 });
    await own.verify();
  });

  test("and that was stopped in the middle of it is read, too", async () => {
    const dir = await scratch();
    const { child, ended } = await appender(dir);
    await sleep(300);
    child.kill("SIGSTOP");
    const before = ended();
    const started = performance.now();
    await using reader = await readJournal(dir, { host: hostname() });
    expect(await countIn(reader)).toBeGreaterThanOrEqual(before);
    expect(performance.now() - started).toBeLessThan(4_000);
    expect(JSON.parse(await readFile(join(dir, "holder.json"), "utf8"))).toMatchObject({ pid: child.pid });
  });
});
