import { readFile, readdir, rename, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { openPool } from "../../src/index.ts";
import { readLevel, writeLevel } from "../journal/lab.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { Lab } from "./lab.ts";

beforeAll(requireBuiltCommand);

const keyOf = (sequence: number): string => sequence.toString(16).padStart(16, "0");

interface Head {
  readonly sequence: number;
  readonly digest: string;
}

interface Failure {
  readonly error: { readonly code: string; readonly details: Readonly<Record<string, unknown>> };
}

/** Changes what LevelDB holds behind the journal's back. */
async function edit(lab: Lab, change: (content: Map<string, Uint8Array>) => void): Promise<void> {
  const content = await readLevel(lab.path(".qcowal"));
  change(content);
  await writeLevel(lab.path(".qcowal"), content);
}

function flip(content: Map<string, Uint8Array>, sequence: number): void {
  const value = (content.get(keyOf(sequence)) ?? new Uint8Array()).slice();
  value[20] = (value[20] ?? 0) ^ 1;
  content.set(keyOf(sequence), value);
}

describe("journal head and verify", () => {
  test("print a digest to keep, and what came since", async () => {
    const lab = await Lab.open();
    await lab.qcowal("create", "x", "a.qcow2");
    const { code, stdout, stderr } = await lab.qcowal("journal", "head");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^[0-9a-f]{64} \d+\n$/);
    const head = await lab.json<Head>("journal", "head");
    expect(stdout).toBe(`${head.digest} ${head.sequence}\n`);

    await lab.qcowal("delete", "x", "a.qcow2");
    // As `--head "$(cat file)"` hands it on.
    const verified = await lab.qcowal("journal", "verify", "--head", stdout.trim());
    expect(verified).toMatchObject({ code: 0, stderr: "" });
    expect(verified.stdout).toMatch(
      /^\d+ records, all as written; head [0-9a-f]{64} \d+\nthe head that was given is record \d+; \d+ records came since\n$/,
    );
    expect(await lab.json("journal", "verify", "--head", head.digest)).toMatchObject({
      journal: lab.path(".qcowal"),
      known: { sequence: head.sequence },
    });
    for (const wrong of ["", "abc", `${head.digest}0`]) {
      expect(await lab.qcowal("journal", "verify", "--head", wrong)).toMatchObject({ code: 2, stdout: "" });
    }
  });

  test("name the record that was edited or taken away, with its digests: 1", async () => {
    const lab = await Lab.open();
    for (const name of ["x", "y"]) await lab.qcowal("create", name, "a.qcow2");
    await edit(lab, (content) => flip(content, 4));
    const edited = await lab.qcowal("journal", "verify", "--json");
    expect(edited).toMatchObject({ code: 1, stdout: "" });
    const { error } = JSON.parse(edited.stderr) as Failure;
    expect(error).toMatchObject({ code: "JOURNAL_DAMAGED", details: { sequence: 4 } });
    await edit(lab, (content) => {
      flip(content, 4);
      content.delete(keyOf(3));
    });
    expect(await lab.qcowal("journal", "verify")).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(/^qcowal: .*record 3 is missing; its digest was [0-9a-f]{64}\..*\n$/),
    });
  });

  test("notice that the end was cut off, given a head: 1", async () => {
    const lab = await Lab.open();
    await lab.qcowal("create", "x", "a.qcow2");
    const before = await lab.json<Head>("journal", "head");
    await lab.qcowal("create", "y", "a.qcow2");
    const after = await lab.json<Head>("journal", "head");
    await edit(lab, (content) => {
      for (let at = before.sequence + 1; at <= after.sequence; at += 1) content.delete(keyOf(at));
    });
    expect((await lab.qcowal("journal", "verify")).code).toBe(0);
    expect((await lab.qcowal("journal", "verify", "--head", before.digest)).code).toBe(0);
    const cut = await lab.qcowal("journal", "verify", "--head", after.digest, "--json");
    expect(cut).toMatchObject({ code: 1, stdout: "" });
    expect((JSON.parse(cut.stderr) as Failure).error).toMatchObject({
      code: "JOURNAL_DAMAGED",
      details: { sequence: before.sequence, expected: after.digest, found: before.digest },
    });
  });

  test("name a torn end, which is no damage and not nothing: 4", async () => {
    const lab = await Lab.open();
    await lab.qcowal("create", "x", "a.qcow2");
    const { sequence, digest } = await lab.json<Head>("journal", "head");
    await edit(lab, (content) => flip(content, sequence));
    const torn = await lab.qcowal("journal", "verify");
    expect(torn).toMatchObject({
      code: 4,
      stdout: expect.stringMatching(/all as written/),
      stderr: expect.stringContaining(
        `(from ${sequence}) torn and set aside: record ${sequence} does not verify`,
      ),
    });
    const { code, stdout } = await lab.qcowal("journal", "verify", "--json", "--quiet");
    expect(code).toBe(4);
    expect(JSON.parse(stdout)).toMatchObject({
      sequence: sequence - 1,
      tornTail: { sequence, last: sequence },
    });
    expect((await lab.qcowal("journal", "verify", "--head", digest)).code).toBe(1);
  });

  test("say what there is to do, and that there is no journal", async () => {
    const lab = await Lab.open();
    const group = await lab.qcowal("journal");
    expect(group).toMatchObject({ code: 2, stdout: "" });
    expect(group.stderr).toMatch(/^Usage: qcowal journal .*\n[^]*verify/);
    expect(group.stderr).not.toContain("outputHelp");
    for (const command of ["verify", "head"]) {
      const none = await lab.qcowal("journal", command);
      expect(none).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringContaining("there is no journal"),
      });
    }
  });
});

describe("journal export and import", () => {
  test("make the same journal elsewhere, which finishes what was interrupted here", async () => {
    const lab = await Lab.open();
    await lab.dieAt({ type: "create", image: lab.path("a.qcow2"), name: "x" }, "lower");
    const { code, stdout, stderr } = await lab.qcowal("journal", "export", "j.jsonl");
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toMatch(/^exported .*; head [0-9a-f]{64} \d+\n$/);
    const piped = await lab.qcowal("journal", "export", "--quiet");
    expect(piped).toEqual({
      code: 0,
      signal: null,
      stderr: "",
      stdout: await readFile(lab.path("j.jsonl"), "utf8"),
    });
    // The same again takes its place, and nothing else is left.
    expect(await lab.json("journal", "export", "j.jsonl")).toMatchObject({ file: "j.jsonl" });
    expect((await readdir(lab.dir)).toSorted()).toEqual([".qcowal", "a.qcow2", "j.jsonl"]);

    const { digest } = await lab.json<Head>("journal", "head");
    await rename(lab.path(".qcowal"), lab.path("lost"));
    const imported = await lab.qcowal("journal", "import", "j.jsonl", "--head", digest);
    expect(imported).toMatchObject({
      code: 0,
      stderr: "",
      stdout: expect.stringContaining(`head ${digest}`),
    });
    expect(await lab.json<Head>("journal", "head")).toMatchObject({ digest });
    expect(await lab.qcowal("recover")).toMatchObject({ code: 0 });
    expect(await lab.names()).toContain("x");
    expect(await lab.verdict()).toBe("clean");
    expect(await lab.qcowal("journal", "import", "j.jsonl")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("there is a journal already"),
    });
  });

  test("name the line that was edited, and the file that cannot be read or written", async () => {
    const lab = await Lab.open();
    await lab.qcowal("create", "x", "a.qcow2");
    const lines = (await lab.qcowal("journal", "export")).stdout.split("\n");
    await writeFile(lab.path("j"), lines.with(2, (lines[2] ?? "").replace("part", "note")).join("\n"));
    const edited = await lab.qcowal("journal", "import", "j", "--journal", "new", "--json");
    expect(edited).toMatchObject({ code: 1, stdout: "" });
    expect((JSON.parse(edited.stderr) as Failure).error).toMatchObject({
      code: "EXPORT_INVALID",
      details: { line: 3 },
      message: expect.stringMatching(/^j, line 3: /),
    });
    expect(await lab.qcowal("journal", "import", "none", "--journal", "new")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^qcowal: none: cannot be read: ENOENT.*\n$/),
    });
    expect(await lab.qcowal("journal", "export", "no/such/j")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^qcowal: no\/such\/j: cannot be written: ENOENT.*\n$/),
    });
    expect(await lab.qcowal("journal", "export", "/dev/full")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("no space left"),
    });
    expect((await readdir(lab.dir)).toSorted()).toEqual([".qcowal", "a.qcow2", "j"]);
  });
});

test("history reads a journal beside its holder", async () => {
  const lab = await Lab.open();
  await using pool = await openPool(lab.path(".qcowal"));
  await pool.create(lab.path("a.qcow2"), "x", { reason: "held" });
  expect(await lab.json("history", "a.qcow2")).toMatchObject([{ status: "done", reason: "held" }]);
  expect((await lab.qcowal("history", "a.qcow2", "--wait", "0")).code).toBe(0);
  expect((await lab.qcowal("journal", "verify")).code).toBe(0);
  expect((await lab.qcowal("create", "y", "a.qcow2", "--wait", "0")).code).toBe(5);
  await pool.create(lab.path("a.qcow2"), "z");
});
