import { access, symlink } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { requireBuiltCommand } from "../support/command.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(requireBuiltCommand);

interface HistoryLine {
  readonly status: string;
  readonly operations: readonly { readonly type: string; readonly name?: string }[];
  readonly actor: { readonly name?: string };
  readonly reason?: string;
}

describe("create, revert and delete", () => {
  test("do what they say, print no data, and leave a clean image", async () => {
    const lab = await Lab.open();
    for (const args of [
      ["create", "three", "a.qcow2"],
      ["revert", "one", "a.qcow2"],
      ["delete", "two", "a.qcow2"],
    ]) {
      const { code, stdout, stderr } = await lab.qcowal(...args);
      expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
      expect(stderr).toMatch(
        /a\.qcow2: (created|reverted to|deleted) "\w+" \(id \d\) \[.*transaction \d+\]\n$/,
      );
      expect(await lab.verdict()).toBe("clean");
    }
    expect(await lab.names()).toEqual(["one", "three"]);
  });

  test("revert --drop-bitmaps says which bitmaps go, and the history too; without it they are a refusal", async () => {
    const lab = await Lab.open({ "a.qcow2": { ...SPEC, bitmap: { name: "nightly", granularityBits: 12 } } });
    const refused = await lab.qcowal("revert", "one", "a.qcow2");
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("--drop-bitmaps") });
    const plan = await lab.qcowal("revert", "one", "a.qcow2", "--drop-bitmaps", "--dry-run");
    expect(plan.stdout).toContain('would revert to "one" (id 1), drop bitmap "nightly"');
    const { code, stderr } = await lab.qcowal("revert", "one", "a.qcow2", "--drop-bitmaps");
    expect({ code, stderr }).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('reverted to "one" (id 1), dropped bitmap "nightly" ['),
    });
    expect(await lab.verdict()).toBe("clean");
    const [entry] = await lab.json<object[]>("history", "a.qcow2");
    expect(entry).toMatchObject({ images: [{ outcomes: [{ droppedBitmaps: ["nightly"] }] }] });
    const again = await lab.qcowal("revert", "one", "a.qcow2", "--drop-bitmaps");
    expect(again.stderr).not.toContain("bitmap");
  });

  test("are silent with --quiet", async () => {
    const lab = await Lab.open();
    expect(await lab.qcowal("create", "three", "a.qcow2", "-q")).toMatchObject({
      code: 0,
      stdout: "",
      stderr: "",
    });
  });

  test("change several images together", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC, "b.qcow2": SPEC });
    const report = await lab.json<{ images: unknown[] }>("create", "both", "a.qcow2", "b.qcow2");
    expect(report.images).toHaveLength(2);
    const refused = await lab.qcowal("delete", "both", "a.qcow2", "b.qcow2", "missing.qcow2");
    expect(refused.code).toBe(1);
    expect(await lab.names("a.qcow2")).toEqual(["one", "two", "both"]);
    expect(await lab.names("b.qcow2")).toEqual(["one", "two", "both"]);
  });

  test("with --dry-run tell the plan and write nothing, not even a journal", async () => {
    const lab = await Lab.open();
    const before = await lab.bytes();
    const text = await lab.qcowal("revert", "one", "a.qcow2", "--dry-run");
    expect(text.code).toBe(0);
    expect(text.stdout).toContain('would revert to "one" (id 1)');
    const plan = await lab.json<{ dryRun: boolean; images: { phases: object }[] }>(
      "delete",
      "two",
      "a.qcow2",
      "-n",
    );
    expect(plan.dryRun).toBe(true);
    expect(Object.keys(plan.images[0]?.phases ?? {})).toEqual([
      "reserve",
      "raise",
      "switch",
      "lower",
      "discard",
    ]);
    expect(before.equals(await lab.bytes())).toBe(true);
    await expect(access(lab.path(".qcowal"))).rejects.toThrow(/ENOENT/);
  });
});

describe("a snapshot is named", () => {
  test("by its exact name, by id:N, and by name:TEXT when the name looks like an id", async () => {
    const lab = await Lab.open();
    await lab.json("create", "id:1", "a.qcow2");
    await lab.json("delete", "name:id:1", "a.qcow2");
    expect(await lab.names()).toEqual(["one", "two"]);
    await lab.json("delete", "id:1", "a.qcow2");
    expect(await lab.names()).toEqual(["two"]);
    expect((await lab.qcowal("delete", "tw", "a.qcow2")).code).toBe(1);
  });

  test("with --force by a name that exists or is empty, and then the name alone is ambiguous", async () => {
    const lab = await Lab.open();
    expect((await lab.qcowal("create", "one", "a.qcow2")).code).toBe(1);
    expect((await lab.qcowal("create", "", "a.qcow2")).code).toBe(1);
    await lab.json("create", "one", "a.qcow2", "--force");
    await lab.json("create", "", "a.qcow2", "-f");
    const { code, stderr } = await lab.qcowal("revert", "one", "a.qcow2");
    expect(code).toBe(1);
    expect(stderr).toMatch(/2 snapshots "one".*\n {2}id:1 .*\n {2}id:3 /);
    expect(await lab.names()).toEqual(["one", "two", "one", ""]);
  });
});

describe("the journal", () => {
  test("lies beside the image itself, not beside a link to it", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC });
    await symlink(lab.path("a.qcow2"), `${lab.dir}.link`);
    const report = await lab.json<{ journal: string }>("create", "three", `${lab.dir}.link`);
    expect(report.journal).toBe(lab.path(".qcowal"));
    expect(await lab.json<unknown[]>("history", `${lab.dir}.link`)).toHaveLength(1);
  });

  test("is where --journal says, else where QCOWAL_JOURNAL says", async () => {
    const lab = await Lab.open();
    const first = await lab.json<{ journal: string }>("create", "x", "a.qcow2", "--journal", "here");
    expect(first.journal).toBe(lab.path("here"));
    const second = await lab.with({ QCOWAL_JOURNAL: "there" }, "create", "y", "a.qcow2", "--json");
    expect(JSON.parse(second.stdout)).toMatchObject({ journal: lab.path("there") });
    await expect(access(lab.path(".qcowal"))).rejects.toThrow(/ENOENT/);
  });
});

describe("list", () => {
  test("prints a table for people and QEMU's fields for programs", async () => {
    const lab = await Lab.open();
    const { stdout } = await lab.qcowal("list", "a.qcow2");
    expect(stdout.split("\n").slice(0, 2)).toEqual([
      expect.stringMatching(/^ID {2}NAME {2}DATE +DISK SIZE {2}VM STATE$/),
      expect.stringMatching(/^1 {3}one +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}1 MiB +-$/),
    ]);
    const [first] = await lab.json<Record<string, unknown>[]>("list", "a.qcow2");
    expect(Object.keys(first ?? {})).toEqual([
      "id",
      "name",
      "vm-state-size",
      "date-sec",
      "date-nsec",
      "vm-clock-sec",
      "vm-clock-nsec",
    ]);
  });

  test("shows control characters of a hostile name instead of obeying them", async () => {
    const lab = await Lab.open({ "a.qcow2": { ...SPEC, snapshots: [{ name: "\u001B[2Jx\ny" }] } });
    const { stdout } = await lab.qcowal("list", "a.qcow2");
    expect(stdout).toContain(String.raw`\u{1b}[2Jx\u{a}y`);
  });
});

describe("history", () => {
  test("says who did what and why, in order, for people and for programs", async () => {
    const lab = await Lab.open();
    await lab.json("create", "three", "a.qcow2", "--actor", "ops", "--reason", "kernel 6.18");
    await lab.json("revert", "one", "a.qcow2");
    const lines = await lab.json<HistoryLine[]>("history", "a.qcow2");
    expect(lines.map(({ status, operations }) => [status, operations[0]?.type, operations[0]?.name])).toEqual(
      [
        ["done", "create", "three"],
        ["done", "revert", "one"],
      ],
    );
    expect(lines[0]).toMatchObject({ actor: { name: "ops" }, reason: "kernel 6.18" });
    const { stdout } = await lab.qcowal("history", "a.qcow2");
    expect(stdout).toMatch(
      /^NO +BEGAN +STATUS.*\n\d+ +.* done +create "three" \(id 3\) +a\.qcow2 .* ops, .* "kernel 6.18"\n/,
    );
  });

  test("is empty where nothing was recorded, and makes no journal", async () => {
    const lab = await Lab.open();
    expect(await lab.json("history", "a.qcow2")).toEqual([]);
    expect((await lab.qcowal("history", "--journal", "none")).code).toBe(1);
    await expect(access(lab.path(".qcowal"))).rejects.toThrow(/ENOENT/);
  });
});
