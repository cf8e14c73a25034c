import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type ProgressEvent, openPool } from "../../src/index.ts";
import { UNSIGNALLED } from "../../tools/crash/real/strace-log.ts";
import { requireStrace } from "../kill/lab/strace.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { type Ended, run } from "../support/programs.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(async () => {
  requireBuiltCommand();
  await requireStrace();
});

/** Runs the command while every call of these names on one of the paths fails: root is asked for no permission. */
async function failing(
  lab: Lab,
  { calls, error, paths }: { calls: string; error: string; paths: readonly string[] },
  ...args: readonly string[]
): Promise<Ended> {
  const watched = paths.flatMap((path) => ["-P", lab.path(path)]);
  const inject = ["-e", `trace=${calls}`, "-e", `inject=${calls}:error=${error}`];
  return run(
    "strace",
    [...UNSIGNALLED, "-qq", "-o", "/dev/null", ...watched, ...inject, "--", ...cli(...args)],
    {
      cwd: lab.dir,
      // strace counts per thread.
      env: { UV_THREADPOOL_SIZE: "1" },
    },
  );
}

/** One line for a person, without a stack. */
const ONE_LINE = /^qcowal: .*\n$/;

const FILES = [".qcowal/leveldb/LOCK", ".qcowal/leveldb/LOG", ".qcowal/leveldb/000001.log"];

describe("a journal that cannot be written", () => {
  test.each([
    { what: "on a read-only file system, and not there yet", calls: "mkdir", error: "EROFS" },
    { what: "in a directory of somebody else, and not there yet", calls: "mkdir", error: "EACCES" },
    { what: "on a full disk, and not there yet", calls: "mkdir", error: "ENOSPC" },
    { what: "on a read-only file system", calls: "openat", error: "EROFS", exists: true },
    { what: "of somebody else", calls: "openat", error: "EACCES", exists: true },
    { what: "on a full disk", calls: "write", error: "ENOSPC", exists: true },
    { what: "on a disk over its quota", calls: "write", error: "EDQUOT", exists: true },
    { what: "on a failing disk", calls: "write,fdatasync", error: "EIO", exists: true },
  ])("$what: 1, and nothing was changed", async ({ calls, error, exists = false }) => {
    const lab = await Lab.open();
    if (exists) await lab.json("create", "before", "a.qcow2");
    const before = await lab.bytes();
    const names = exists ? await lab.names() : [];
    // LevelDB numbers its files on: all that it may open or write next.
    const numbered = Array.from({ length: 12 }, (_, index) => String(index).padStart(6, "0"));
    const next = numbered.flatMap((number) => [
      `.qcowal/leveldb/${number}.log`,
      `.qcowal/leveldb/${number}.ldb`,
      `.qcowal/leveldb/MANIFEST-${number}`,
    ]);
    const paths = [".qcowal", ".qcowal/leveldb", ...FILES, ...next];
    const { code, stdout, stderr } = await failing(lab, { calls, error, paths }, "create", "x", "a.qcow2");
    expect(stderr).toMatch(ONE_LINE);
    expect(stderr).toContain(lab.path(".qcowal"));
    expect(stderr).toContain("Nothing was changed");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(before.equals(await lab.bytes())).toBe(true);
    // It can be used again as soon as it can be written.
    await lab.json("create", "x", "a.qcow2");
    if (exists) expect(await lab.names()).toEqual([...names, "x"]);
    expect(await lab.verdict()).toBe("clean");
  });

  test("because a file is in its place: 1, and nothing was changed", async () => {
    const lab = await Lab.open();
    await writeFile(lab.path(".qcowal"), "");
    const { code, stderr } = await lab.qcowal("create", "x", "a.qcow2");
    expect(code).toBe(1);
    expect(stderr).toMatch(ONE_LINE);
    expect(stderr).toContain("Nothing was changed");
  });
});

const AWAY = {
  removed: (lab: Lab) => rmSync(lab.path(".qcowal"), { recursive: true }),
  moved: (lab: Lab) => renameSync(lab.path(".qcowal"), lab.path("elsewhere")),
  replaced: (lab: Lab) => {
    renameSync(lab.path(".qcowal"), lab.path("elsewhere"));
    mkdirSync(lab.path(".qcowal/leveldb"), { recursive: true });
    writeFileSync(lab.path(".qcowal/leveldb/LOCK"), "");
  },
};

describe("a journal that goes away while it is open", () => {
  test.each(
    (["removed", "moved", "replaced"] as const).flatMap((way) =>
      (["prepare", "fence", "reserve", "commit"] as const).map((step) => ({ way, step })),
    ),
  )("$way at '$step': the operation is not done, and the image is as it was", async ({ way, step }) => {
    const lab = await Lab.open();
    const before = await lab.bytes();
    const pool = await openPool(lab.path(".qcowal"));
    onTestFinished(() => pool.close());
    const onProgress = (event: ProgressEvent): void => {
      if (event.step === step) AWAY[way](lab);
    };
    await expect(pool.create(lab.path("a.qcow2"), "x", { onProgress })).rejects.toMatchObject({
      code: "JOURNAL_NOT_FOUND",
      message: expect.stringContaining("Nothing was changed"),
    });
    expect(before.equals(await lab.bytes())).toBe(true);
    // What it could not record any more it says until it is opened again.
    await expect(pool.create(lab.path("a.qcow2"), "y")).rejects.toMatchObject({
      message: expect.stringContaining("reopen"),
    });
    expect(before.equals(await lab.bytes())).toBe(true);
  });

  test("after the decision: the operation is done", async () => {
    const lab = await Lab.open();
    await using pool = await openPool(lab.path(".qcowal"));
    const onProgress = ({ step }: ProgressEvent): void => {
      if (step === "raise") AWAY.removed(lab);
    };
    await pool.create(lab.path("a.qcow2"), "x", { onProgress });
    expect(await lab.names()).toEqual(["one", "two", "x"]);
    expect(await lab.verdict()).toBe("clean");
  });
});

describe("recover says every failure", () => {
  test("of several transactions, and ends with 6", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC, "b.qcow2": SPEC, "c.qcow2": SPEC });
    for (const image of ["a.qcow2", "b.qcow2", "c.qcow2"]) {
      const paths = [image];
      // The sync behind the first phase after the decision.
      const ended = await failing(
        lab,
        { calls: "fdatasync", error: "EIO:when=3", paths },
        "revert",
        "one",
        image,
      );
      expect(ended.code, ended.stderr).toBe(6);
    }
    const { code, stderr } = await failing(
      lab,
      { calls: "pwrite64", error: "EIO", paths: ["a.qcow2", "c.qcow2"] },
      "recover",
    );
    expect(code).toBe(6);
    for (const image of ["a.qcow2", "c.qcow2"]) {
      const line = stderr.split("\n").find((text) => text.startsWith(`qcowal: ${lab.path(image)}: `));
      expect(line).toMatch(/recovery of transaction \d+ \(journal .*\.qcowal\) did not finish: .*EIO/);
    }
    expect(stderr).toMatch(
      /b\.qcow2: interrupted transaction \d+ \(revert "one"\) had been decided, it is finished now/,
    );
    expect(stderr).not.toMatch(/^\s+at /m);
    const again = await lab.json("recover");
    expect(again).toMatchObject({ recovered: [{ result: "finished" }, { result: "finished" }], failed: [] });
    for (const image of ["a.qcow2", "b.qcow2", "c.qcow2"]) expect(await lab.verdict(image)).toBe("clean");
  });

  test("of several journals, and what was done in the others", async () => {
    const lab = await Lab.open();
    const other = await Lab.open({ "b.qcow2": SPEC });
    const paths = ["a.qcow2"];
    await failing(lab, { calls: "fdatasync", error: "EIO:when=3", paths }, "revert", "one", "a.qcow2");
    await using pool = await openPool(other.path(".qcowal"));
    const args = ["recover", "a.qcow2", other.path("b.qcow2"), "--wait", "0"];
    const { code, stderr } = await lab.qcowal(...args);
    await pool.close();
    expect(code).toBe(5);
    expect(stderr).toContain("it is finished now");
    expect(stderr).toContain(`${other.path(".qcowal")}: the journal is held by`);
    expect(await lab.verdict()).toBe("clean");
  });

  test("when the journal is gone: 6, and the image stays as it is", async () => {
    const lab = await Lab.open();
    const paths = ["a.qcow2"];
    await failing(lab, { calls: "fdatasync", error: "EIO:when=3", paths }, "revert", "one", "a.qcow2");
    await rm(lab.path(".qcowal"), { recursive: true });
    const before = await lab.bytes();
    const { code, stderr } = await lab.qcowal("recover", "a.qcow2");
    expect(code).toBe(6);
    expect(stderr).toMatch(ONE_LINE);
    expect(before.equals(await lab.bytes())).toBe(true);
  });

  test("and where somebody wrote behind the fence", async () => {
    const lab = await Lab.open();
    const paths = ["a.qcow2"];
    await failing(lab, { calls: "fdatasync", error: "EIO:when=3", paths }, "revert", "one", "a.qcow2");
    const foreign = await lab.bytes();
    foreign[45] = (foreign[45] ?? 0) ^ 0x40;
    await writeFile(lab.path("a.qcow2"), foreign);
    const { code, stderr } = await lab.qcowal("recover", "a.qcow2");
    expect(code).toBe(6);
    expect(stderr).toMatch(ONE_LINE);
    expect(stderr).toContain("byte 0x2d (the header; phase switch)");
    expect(foreign.equals(await lab.bytes())).toBe(true);
    foreign[45] ^= 0x40;
    await writeFile(lab.path("a.qcow2"), foreign);
    await lab.json("recover", "a.qcow2");
    expect(await lab.verdict()).toBe("clean");
  });
});
