import { rm } from "node:fs/promises";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { beforeAll, describe, expect, test } from "vitest";
import { cli } from "../support/command.ts";
import { qcowal, qcowalJson } from "../support/in-process.ts";
import { snapshotCreate, snapshotDelete } from "../support/qemu.ts";
import { Lab } from "./lab.ts";

/** A name that a terminal, Graphviz and a browser would all obey. */
const HOSTILE = `<b>"x"\\\u001b[31m & 'y'`;

interface Entry {
  readonly transaction: number;
  readonly status: string;
  readonly began: string;
  readonly operations: readonly { readonly type: string; readonly name: string }[];
}

let lab: Lab;
let image: string;
const must = async (...args: readonly string[]): Promise<string> => {
  const { code, stdout, stderr } = await qcowal(...args);
  if (code !== 0) throw new Error(`qcowal ${args.join(" ")} ended with ${code}: ${stderr}`);
  return stdout;
};

beforeAll(async () => {
  lab = await Lab.forFile({ "a.qcow2": Lab.EMPTY, "b.qcow2": Lab.EMPTY });
  image = lab.path("a.qcow2");
  await must("create", "base", image, "--reason", "fresh install", "--actor", "alice");
  await must("create", HOSTILE, image);
  await must("revert", "base", image);
  await must("create", "alt", image);
  await snapshotCreate(image, "theirs");
  await snapshotDelete(image, "alt");
  await must("create", "after", image);
  await qcowal("create", "after", image);
  await must("create", "other", lab.path("b.qcow2"));
});

const history = (...args: readonly string[]): Promise<Entry[]> =>
  qcowalJson<Entry[]>("history", ...args, "--journal", lab.path(".qcowal"));
const names = (entries: readonly Entry[]): string[] =>
  entries.map(({ operations }) => operations.map(({ type, name }) => `${type} ${name}`).join());

describe("qcowal history", () => {
  test("shows each operation with how it ended, who asked for it, why, and what others did in between", async () => {
    const shown = await must("history", image);
    expect(shown).toMatch(/2 +\S+ \S+ +done +create "base" \(id 1\) +a\.qcow2 .* alice, .* "fresh install"/);
    expect(shown).toContain('a.qcow2 was changed by others; its snapshots: "base"');
    expect(shown).toMatch(/refused +create "after"/);
    expect(shown).toContain("already has a snapshot");
    expect(shown).not.toContain("\u001b");
    expect(shown).not.toContain('"other"');
  });

  test.each([
    [["--operation", "revert"], ["revert base"]],
    [["--status", "refused"], ["create after"]],
    [
      ["--snapshot", "base"],
      ["create base", "revert base", "create after"],
    ],
    [["--actor", "alice"], ["create base"]],
    [["--grep", "FRESH"], []],
    [["--grep", "fresh"], ["create base"]],
    [["-n", "1"], ["create other"]],
    [
      ["-n", "2", "-r"],
      ["create other", "create after"],
    ],
    [["-n", "0"], []],
    [["--since", "tomorrow"], []],
    [["--until", "yesterday"], []],
    [
      ["--since", "-1h", "--until", "now", "--operation", "revert", "--operation", "create", "-n", "1"],
      ["create other"],
    ],
  ])("%j finds %j", async (args, expected) => {
    expect(names(await history(...args))).toEqual(expected);
  });

  test("of several images has what touched any of them, in order", async () => {
    const both = await history(image, lab.path("b.qcow2"));
    expect(both).toEqual(await history());
    expect(await history(lab.path("b.qcow2"))).toHaveLength(1);
  });

  test("as JSON Lines is one entry a line", async () => {
    const lines = (await must("history", "--output", "jsonl", image)).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line) as Entry)).toEqual(await history(image));
  });

  test.each([
    ["--since", "soon"],
    ["--lines", "-1"],
    ["--grep", "("],
    ["--operation", "destroy"],
    ["--follow", "--json"],
    ["--follow", "--reverse"],
  ])("refuses %s %s", async (...args) => {
    expect((await qcowal("history", ...args, image)).code).toBe(2);
  });

  test("--follow shows what others record while it runs, once, beside them", async () => {
    const [program = "", ...args] = cli("history", "-f", "-n", "1", "--output", "jsonl", lab.path("b.qcow2"));
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const next = async (): Promise<Entry> => JSON.parse(String((await lines.next()).value)) as Entry;
    try {
      expect(names([await next()])).toEqual(["create other"]);
      await must("create", "followed", lab.path("b.qcow2"));
      await must("create", "unseen", image);
      await must("delete", "followed", lab.path("b.qcow2"));
      expect(names([await next(), await next()])).toEqual(["create followed", "delete followed"]);
    } finally {
      child.kill("SIGINT");
      await once(child, "exit");
    }
  });
});

describe("qcowal show", () => {
  test("prints one transaction with every intent, in words and as data", async () => {
    const text = await must("show", "2", "--journal", lab.path(".qcowal"));
    expect(text).toMatch(/status +done/);
    expect(text).toMatch(/raise:\n {2}refcount block at 0x[0-9a-f]+: entry .* 0 -> 1\n/);
    expect(text).toMatch(/header: nbSnapshots 0 -> 1, snapshotsOffset 0 -> \d+\n/);
    const data = await qcowalJson<{ intents: { phase: string; intent: { kind: string } }[] }>(
      "show",
      "2",
      "--journal",
      lab.path(".qcowal"),
    );
    const kinds = data.intents.map(({ phase, intent }) => `${phase} ${intent.kind}`);
    expect(new Set(kinds)).toEqual(
      new Set(["reserve fill", "raise refcount", "raise copied", "switch header"]),
    );
    const cut = await must("show", "2", "--intents", "1", "--journal", lab.path(".qcowal"));
    expect(cut).toContain(`and ${kinds.length - 1} more intents`);
  });

  test("refuses a number that no transaction has", async () => {
    const { code, stderr } = await qcowal("show", "3", "--journal", lab.path(".qcowal"));
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining("no transaction has the number 3"),
    });
  });
});

describe("qcowal tree", () => {
  test("draws what was taken from what, where the disk stands, and what nobody knows", async () => {
    const lines = (await must("tree", image)).trimEnd().split("\n");
    expect(lines.slice(1)).toEqual([
      "○ the disk without snapshots",
      expect.stringMatching(/^○ "base" \(id 1\).*1 revert to it$/),
      expect.stringMatching(/^○ "<b>"x"\\\\u\{1b\}\[31m & 'y'" \(id 2\)/),
      "? what the record does not know",
      expect.stringMatching(/^├─○ "theirs" .* taken by others$/),
      expect.stringMatching(/^○ "after" /),
      expect.stringMatching(/^○ "unseen" /),
      "* the disk is here",
    ]);
    expect(await must("tree", "--all", image)).toMatch(/\n├─○ "<b>.*\n× "alt" .*deleted by others/);
  });

  test("as it was after a transaction", async () => {
    const then = await must("tree", image, "--as-of", "2");
    expect(then).toMatch(/\n○ "base" [^\n]*\n\* the disk is here\n$/);
    const { code, stderr } = await qcowal("tree", image, "--as-of", "2001-01-01");
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining("begins with transaction 2"),
    });
  });

  test("as a picture takes hostile names as text", async () => {
    const dot = await must("tree", "--output", "dot", image);
    expect(dot).toContain(String.raw`"<b>\"x\"\\\\u{1b}[31m & 'y' (id 2)"`);
    const svg = await must("tree", "--output", "svg", "--all", image);
    expect(svg).toContain("&lt;b&gt;&quot;x&quot;");
    expect(svg).not.toContain("<b>");
    expect(svg).not.toContain("\u001b");
    expect(svg.match(/<g class="(snapshot|gone)">/g)).toHaveLength(6);
  });
});

describe("qcowal list", () => {
  interface Listed {
    readonly name: string;
    readonly parent?: { readonly name: string } | null;
    readonly current?: boolean;
  }

  test("says what each was taken from and where the disk stands, as far as the record knows", async () => {
    const listed = await qcowalJson<Listed[]>("list", image);
    expect(listed.map(({ name, parent }) => [name, parent === null ? null : parent?.name])).toEqual([
      ["base", null],
      [HOSTILE, "base"],
      ["theirs", undefined],
      ["after", undefined],
      ["unseen", "after"],
    ]);
    expect(listed.filter(({ current }) => current === true).map(({ name }) => name)).toEqual(["unseen"]);
    expect(await must("list", image)).toMatch(/unseen .* "after" +\* the disk is here\n$/);
  });

  test("does not say where the disk stands when others were at work since", async () => {
    const changed = await Lab.open({ "c.qcow2": Lab.EMPTY });
    await must("create", "x", changed.path("c.qcow2"));
    await snapshotCreate(changed.path("c.qcow2"), "theirs");
    const listed = await qcowalJson<Listed[]>("list", changed.path("c.qcow2"));
    expect(listed.map(({ parent, current }) => [parent, current])).toEqual([
      [null, undefined],
      [undefined, undefined],
    ]);
  });

  test("as of a transaction comes from the record alone", async () => {
    const number = (await history("--operation", "revert"))[0]?.transaction ?? 0;
    const then = await qcowalJson<Listed[]>("list", image, "--as-of", String(number));
    expect(then.map(({ name }) => name)).toEqual(["base", HOSTILE]);
    expect(await must("list", image, "--as-of", "tomorrow")).toContain("unseen");
    expect(await qcowal("list", image, "--as-of", "yesterday")).toMatchObject({ code: 1 });
    expect(await qcowal("list", image, "--as-of", "soon")).toMatchObject({ code: 2 });
  });
});

describe("qcowal blame", () => {
  test("tells who took it, from what and why, who reverted to it, and how it went", async () => {
    const base = await must("blame", image, "base");
    expect(base).toMatch(/created +.* by alice, .*"fresh install" {2}\[transaction 2\]/);
    expect(base).toMatch(/from +the disk without snapshots/);
    expect(base).toMatch(/revert +.*\[transaction \d+\]/);
    expect(await must("blame", image, "alt")).toMatch(/from +"base" \(id 1\)[^]*vanished +.* by others/);
    expect(await must("blame", image, "theirs")).toContain("what the record does not know");
    expect(await qcowal("blame", image, "nothing")).toMatchObject({ code: 1 });
  });

  test("works when the image is gone", async () => {
    const gone = await Lab.open({ "c.qcow2": Lab.EMPTY });
    await must("create", "x", gone.path("c.qcow2"));
    await rm(gone.path("c.qcow2"));
    expect(await must("blame", gone.path("c.qcow2"), "x")).toContain("* the disk is here");
    expect(await must("tree", gone.path("c.qcow2"))).toContain('"x"');
  });
});
