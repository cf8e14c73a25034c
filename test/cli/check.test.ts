import { readFile, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { openFileDisk } from "../../src/disk/index.ts";
import { type Operation, checkImage } from "../../src/index.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { must, run } from "../support/programs.ts";
import { createImage, io, requireQemu } from "../support/qemu.ts";
import { Lab } from "./lab.ts";

beforeAll(requireBuiltCommand);
beforeAll(requireQemu);

/** Changes 16-bit refcounts of the first block. */
async function setRefcounts(path: string, refcounts: Readonly<Record<number, number>>): Promise<void> {
  const bytes = await readFile(path);
  const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))));
  for (const [cluster, refcount] of Object.entries(refcounts)) {
    bytes.writeUInt16BE(refcount, block + 2 * Number(cluster));
  }
  await writeFile(path, bytes);
}

const STATES: readonly (readonly [string, Readonly<Record<number, number>>, number])[] = [
  ["a clean image", {}, 0],
  ["leaks", { 9: 9, 10: 7 }, 3],
  ["corruptions and a leak", { 0: 0, 1: 0, 9: 9 }, 2],
];

describe("qcowal check, beside qemu-img check, on", () => {
  test.each(STATES)("%s: the same exit code, summary and JSON", async (_, refcounts, code) => {
    const lab = await Lab.open();
    await setRefcounts(lab.path("a.qcow2"), refcounts);
    const human = [
      await lab.qcowal("check", "a.qcow2"),
      await run("qemu-img", ["check", lab.path("a.qcow2")]),
    ];
    expect(human.map((ended) => ended.code)).toEqual([code, code]);
    expect(human[0]?.stdout).toBe(human[1]?.stdout);
    for (const words of [["--output=json"], ["--output", "json", "-f", "qcow2", "-T", "none"], ["--json"]]) {
      const { code: ours, stdout } = await lab.qcowal("check", ...words, "a.qcow2");
      const theirs = await run("qemu-img", ["check", "--output=json", "a.qcow2"], { cwd: lab.dir });
      expect(ours).toBe(code);
      const { findings, ...fields } = JSON.parse(stdout) as Record<string, unknown>;
      expect(fields).toEqual(JSON.parse(theirs.stdout));
      expect(findings).toHaveLength(Object.keys(refcounts).length);
    }
  });

  test("an image with an external data file", async () => {
    const lab = await Lab.open({});
    const path = lab.path("b.qcow2");
    await createImage(path, { size: "4M", options: { data_file: lab.path("b.raw"), data_file_raw: "on" } });
    await io(path, "write -P 1 0 1M");
    const theirs = await run("qemu-img", ["check", path]);
    const ours = await lab.qcowal("check", "b.qcow2");
    expect([ours.code, ours.stdout]).toEqual([0, theirs.stdout]);
  });
});

describe("qcowal check", () => {
  test("says whose a finding is, on stderr, and is silent with -q", async () => {
    const lab = await Lab.open();
    await setRefcounts(lab.path("a.qcow2"), { 0: 0 });
    const { stderr } = await lab.qcowal("check", "a.qcow2");
    expect(stderr).toBe("ERROR cluster 0 refcount=0 reference=1 [header]\n");
    expect(await lab.qcowal("check", "-q", "a.qcow2")).toMatchObject({ code: 2, stdout: "", stderr: "" });
  });

  test("never answers 2 or 3 when there was no check", async () => {
    const lab = await Lab.open();
    await writeFile(lab.path("raw"), "not an image");
    const cases: readonly (readonly [number, ...string[]])[] = [
      [1],
      [1, "a.qcow2", "a.qcow2"],
      [1, "missing.qcow2"],
      [1, "-r", "most", "a.qcow2"],
      [1, "--image-opts", "driver=qcow2"],
      [1, "--output", "xml", "a.qcow2"],
      [63, "raw"],
      [63, "-f", "raw", "a.qcow2"],
    ];
    for (const [code, ...args] of cases) {
      const ended = await lab.qcowal("check", ...args);
      expect(ended, args.join(" ")).toMatchObject({ code, stdout: "" });
      expect(ended.stderr).not.toBe("");
    }
    expect((await lab.qcowal("check", "--help")).code).toBe(0);
  });

  test("refuses an image that is in use, and looks at it with -U", async () => {
    const lab = await Lab.open();
    const disk = await openFileDisk(lab.path("a.qcow2"), "write");
    try {
      expect(await lab.qcowal("check", "a.qcow2")).toMatchObject({
        code: 1,
        stderr: expect.stringContaining("in use"),
      });
      expect(await lab.qcowal("check", "-U", "a.qcow2")).toMatchObject({ code: 0 });
    } finally {
      await disk.close();
    }
  });

  test("checks what an interrupted operation holds, and names the journal", async () => {
    const lab = await Lab.open();
    const revert: Operation = { type: "revert", image: lab.path("a.qcow2"), name: "one" };
    await lab.dieAt(revert, "reserve");
    const before = await lab.bytes();
    const clean = await lab.qcowal("check", "a.qcow2");
    expect(clean.code).toBe(6);
    expect(clean.stdout).toMatch(/^No errors were found/);
    expect(clean.stderr).toContain(`interrupted transaction 2 of the journal ${lab.path(".qcowal")}`);
    const { code, stdout } = await lab.qcowal("check", "--json", "a.qcow2");
    expect(code).toBe(6);
    expect(JSON.parse(stdout)).toMatchObject({ interrupted: { transaction: 2 }, "check-errors": 0 });
    expect(before.equals(await lab.bytes())).toBe(true);
    await lab.qcowal("recover", "a.qcow2");
    expect(await lab.qcowal("check", "a.qcow2")).toMatchObject({ code: 0, stderr: "" });
  });

  test("of a half-finished operation answers with what it finds", async () => {
    const lab = await Lab.open();
    await lab.dieAt({ type: "delete", image: lab.path("a.qcow2"), name: "one" }, "lower");
    const { code, stderr } = await lab.qcowal("check", "a.qcow2");
    expect([2, 3]).toContain(code);
    expect(stderr).toContain("run 'qcowal recover'");
    const repaired = await lab.qcowal("check", "-r", "all", "a.qcow2");
    expect(repaired.stderr).toContain(
      'interrupted transaction 2 (delete "one") had been decided, it is finished now',
    );
    expect([repaired.code, await lab.names()]).toEqual([0, ["two"]]);
  });

  test("--usage says what each snapshot occupies", async () => {
    const lab = await Lab.open();
    const { stdout } = await lab.qcowal("check", "--usage", "a.qcow2");
    expect(stdout).toMatch(/^1 +one +\d/m);
    expect(stdout).toMatch(/in use, .* for the image itself/);
    const { usage } = await lab.json<{ usage: { roots: unknown[]; metadata: number } }>(
      "check",
      "--usage",
      "a.qcow2",
    );
    expect(usage.roots).toMatchObject([{ active: true }, { id: "1", name: "one" }, { id: "2", name: "two" }]);
    expect(usage.metadata).toBeGreaterThan(0);
  });

  test("can be called off", async () => {
    const lab = await Lab.open();
    const check = checkImage(lab.path("a.qcow2"), { signal: AbortSignal.abort() });
    await expect(check).rejects.toMatchObject({ code: "ABORTED" });
    // And takes no lock with it.
    await must("qemu-io", ["-c", "write 0 4k", lab.path("a.qcow2")]);
  });
});
