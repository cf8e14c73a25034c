import { execFile } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { requireBuiltCommand } from "../support/command.ts";
import { visible } from "../support/model.ts";
import { parseHeader } from "../support/naive-qcow2.ts";
import { FileBytes } from "../support/naive-qcow2/file.ts";
import { must } from "../support/programs.ts";
import { requireQemu } from "../support/qemu.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { Lab, SPEC, victim } from "./lab.ts";

const root = resolve(import.meta.dirname, "../..");

beforeAll(requireBuiltCommand);
beforeAll(requireQemu);

/** Two leaked clusters, one header that is not counted, and the dirty bit. */
async function spoil(lab: Lab, name = "a.qcow2"): Promise<Buffer> {
  const bytes = await lab.bytes(name);
  const { refcountTableOffset } = parseHeader(new FileBytes(bytes), {});
  const block = Number(bytes.readBigUInt64BE(refcountTableOffset));
  bytes.writeUInt16BE(0, block);
  bytes.writeUInt16BE(1, block + 2 * 900);
  bytes.writeUInt16BE(1, block + 2 * 901);
  bytes[79] = 1;
  await writeFile(lab.path(name), bytes);
  return bytes;
}

const MENDED = { leakedClusters: 2, refcountsTooLow: 1, refcountsTooHigh: 0, dirtyBit: true };
const FINDINGS = [
  "the image was not closed cleanly (its dirty bit is set)",
  "cluster 0 has refcount 0 and 1 reference",
  "clusters 900 to 901 are leaked (refcount 1)",
];

describe("qcowal repair", () => {
  test("says what it would do, does it, and keeps it in the history", async () => {
    const lab = await Lab.open();
    const spoiled = await spoil(lab);
    const refused = await lab.qcowal("create", "x", "a.qcow2");
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("repair it first ('qcowal repair')"),
    });

    const dry = await lab.qcowal("repair", "a.qcow2", "--dry-run");
    expect(dry.code).toBe(0);
    expect(dry.stdout).toContain(
      "would repair 2 leaked clusters, 1 refcount that was too low, the dirty bit\n",
    );
    for (const finding of FINDINGS) expect(dry.stdout).toContain(`    ${finding}\n`);
    expect(spoiled.equals(await lab.bytes())).toBe(true);

    const done = await lab.qcowal("repair", "a.qcow2", "--actor", "ops", "--reason", "host lost power");
    expect(done).toMatchObject({ code: 0, stdout: "" });
    expect(done.stderr).toContain(
      "a.qcow2: repaired 2 leaked clusters, 1 refcount that was too low, the dirty bit [",
    );
    expect(await lab.verdict()).toBe("clean");
    await must("qemu-img", ["check", lab.path("a.qcow2")]);
    expect(visible(await lab.bytes())).toEqual(visible(spoiled));

    expect(await lab.json("history", "a.qcow2")).toMatchObject([
      {
        status: "done",
        operations: [{ type: "repair", what: "all" }],
        images: [{ outcomes: [{ type: "repair", mended: MENDED, findings: FINDINGS }], clustersFreed: 2 }],
        actor: { name: "ops" },
        reason: "host lost power",
      },
    ]);
    expect((await lab.qcowal("history", "a.qcow2")).stdout).toMatch(/done +repair +a\.qcow2 .* ops, /);

    const again = await lab.qcowal("repair", "a.qcow2");
    expect(again).toMatchObject({
      code: 0,
      stderr: expect.stringContaining("a.qcow2: no damage was found ["),
    });
  });

  test("as JSON: the plan, and the report", async () => {
    const lab = await Lab.open();
    await spoil(lab);
    const outcomes = [{ type: "repair", mended: MENDED, findings: FINDINGS }];
    expect(await lab.json("repair", "a.qcow2", "-n")).toMatchObject({ dryRun: true, images: [{ outcomes }] });
    expect(await lab.json("repair", "a.qcow2")).toMatchObject({ transaction: 2, images: [{ outcomes }] });
  });

  test("repairs several images or none", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC, "b.qcow2": SPEC });
    const a = await spoil(lab);
    const b = await spoil(lab, "b.qcow2");
    // An L1 table that is nowhere: nobody knows what belongs to this disk.
    const lost = Buffer.from(b);
    lost.writeBigUInt64BE(1n << 40n, 40);
    await writeFile(lab.path("b.qcow2"), lost);
    const refused = await lab.qcowal("repair", "a.qcow2", "b.qcow2");
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(
      /b\.qcow2 shows damage that a repair cannot mend: the active L1 table at .* Nothing was changed/,
    );
    expect(a.equals(await lab.bytes())).toBe(true);
    expect(lost.equals(await lab.bytes("b.qcow2"))).toBe(true);

    await writeFile(lab.path("b.qcow2"), b);
    await lab.json("repair", "a.qcow2", "b.qcow2");
    expect([await lab.verdict(), await lab.verdict("b.qcow2")]).toEqual(["clean", "clean"]);
  });

  test("names the snapshots that it gives up: whole in the JSON, and marked where a line leaves some out", async () => {
    const long = "x".repeat(300);
    const lab = await Lab.open({ "a.qcow2": { ...SPEC, snapshots: [{ name: long }, { name: "two" }] } });
    const bytes = await lab.bytes();
    const entry = Number(bytes.readBigUInt64BE(64));
    bytes.writeBigUInt64BE(0x200n, entry);
    await writeFile(lab.path("a.qcow2"), bytes);
    await writeFile(lab.path("b.qcow2"), bytes);

    const dry = await lab.qcowal("repair", "-n", "a.qcow2");
    expect(dry.stdout).toContain(`would stay: snapshot "${"x".repeat(64)}"… (id 1): L1 table offset invalid`);
    const done = await lab.qcowal("repair", "--drop-damaged-snapshots", "a.qcow2");
    expect(done.stderr).toContain(`gave up snapshot "${"x".repeat(255)}"… (300 characters) [`);
    const report = await lab.json("repair", "--drop-damaged-snapshots", "b.qcow2");
    expect(report).toMatchObject({
      images: [{ outcomes: [{ mended: { snapshotsDropped: [{ id: "1", name: long }] } }] }],
    });
    expect([await lab.verdict(), await lab.verdict("b.qcow2")]).toEqual(["clean", "clean"]);
  });

  test("with --leaks leaves more than leaks, and says so", async () => {
    const lab = await Lab.open();
    await spoil(lab);
    const left = [
      "left as it is: 1 refcount that is too low",
      "left as it is: the dirty bit, because of that",
    ].map((what) => `a.qcow2: ${what}.\n`);
    const dry = await lab.qcowal("repair", "--leaks", "-n", "a.qcow2");
    expect(dry).toMatchObject({
      code: 3,
      stdout: expect.stringContaining("    would stay: 1 refcount that is"),
    });
    const done = await lab.qcowal("repair", "--leaks", "a.qcow2");
    expect(done.code).toBe(3);
    expect(done.stderr).toContain("a.qcow2: repaired 2 leaked clusters [");
    for (const line of left) expect(done.stderr).toContain(line);
    const again = await lab.qcowal("repair", "--leaks", "a.qcow2");
    expect(again).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("a.qcow2: nothing can be mended ["),
    });
    expect((await lab.qcowal("repair", "a.qcow2")).code).toBe(0);
    expect(await lab.verdict()).toBe("clean");
  });

  test("killed on headers that nobody opens: recovery ends it, and a scan without the journal", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC, "b.qcow2": SPEC });
    for (const [name, step] of [
      ["a.qcow2", "switch"],
      ["b.qcow2", "reserve"],
    ] as const) {
      const bytes = await lab.bytes(name);
      bytes.writeBigUInt64BE(0x1234n, 48);
      await writeFile(lab.path(name), bytes);
      await lab.dieAt({ type: "repair", image: lab.path(name) }, step);
    }
    const { recovered } = await lab.json<{ recovered: object[] }>("recover", "a.qcow2");
    expect(recovered).toMatchObject([{ result: "finished" }]);
    await rm(lab.path(".qcowal"), { recursive: true });
    expect(await lab.qcowal("repair", "--without-journal", "b.qcow2")).toMatchObject({ code: 0 });
    for (const name of ["a.qcow2", "b.qcow2"]) {
      expect(await lab.verdict(name)).toBe("clean");
      expect(visible(await lab.bytes(name))).toEqual(visible(makeImage(SPEC)));
      await must("qemu-img", ["check", lab.path(name)]);
    }
  });

  test("a header that somebody damages behind the fence is not taken for one that the repair found so", async () => {
    const lab = await Lab.open();
    const dirty = await lab.bytes();
    dirty[79] = 1;
    await writeFile(lab.path("a.qcow2"), dirty);
    await lab.dieAt({ type: "repair", image: lab.path("a.qcow2") }, "switch");
    const bytes = await lab.bytes();
    bytes.writeBigUInt64BE(0x1234n, 48);
    await writeFile(lab.path("a.qcow2"), bytes);
    const { code, stderr } = await lab.qcowal("recover", "a.qcow2");
    expect(code).toBe(6);
    expect(stderr).toContain("(the header) are not those of an image");
    expect(bytes.equals(await lab.bytes())).toBe(true);
  });

  test("flags that contradict each other are misuse", async () => {
    const lab = await Lab.open();
    const spoiled = await spoil(lab);
    for (const flags of [
      ["--leaks", "--drop-damaged-snapshots"],
      ["--without-journal", "--leaks"],
      ["--without-journal", "--harden"],
    ]) {
      expect((await lab.qcowal("repair", ...flags, "a.qcow2")).code, flags.join(" ")).toBe(2);
    }
    expect(spoiled.equals(await lab.bytes())).toBe(true);
  });

  test.each([
    ["commit", "aborted"],
    ["raise", "finished"],
    ["lower", "finished"],
  ])("killed at %s: recovery says %s, and what was mended", async (step, result) => {
    const lab = await Lab.open();
    const spoiled = await spoil(lab);
    const operation = JSON.stringify({ type: "repair", image: lab.path("a.qcow2") });
    const args = [await victim(), lab.path(".qcowal"), operation, step];
    const [, signal] = (await once(execFile(process.execPath, args, { cwd: root }), "exit")) as [
      null,
      string,
    ];
    expect(signal).toBe("SIGKILL");
    const { recovered } = await lab.json<{ recovered: object[] }>("recover", "a.qcow2");
    const finished = result === "finished";
    expect(recovered).toMatchObject([
      { result, images: [finished ? { outcomes: [{ mended: MENDED, findings: FINDINGS }] } : {}] },
    ]);
    expect(visible(await lab.bytes())).toEqual(visible(spoiled));
    if (finished) expect(await lab.verdict()).toBe("clean");
    else expect(spoiled.equals(await lab.bytes())).toBe(true);
    const [entry] = await lab.json<{ status: string }[]>("history", "a.qcow2");
    expect(entry?.status).toBe(finished ? "finished by recovery" : "aborted by recovery");
  });
});
