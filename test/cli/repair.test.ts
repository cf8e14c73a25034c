import { access, cp, rename, rm } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { type Operation, isQcowalError, openPool, repairWithoutJournal } from "../../src/index.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { must, run } from "../support/programs.ts";
import { createEncrypted, requireQemu } from "../support/qemu.ts";
import { Lab } from "./lab.ts";

beforeAll(requireBuiltCommand);
beforeAll(requireQemu);

const revertIn = (lab: Lab): Operation => ({ type: "revert", image: lab.path("a.qcow2"), name: "one" });

describe("qcowal repair", () => {
  test("refuses an image that is not fenced, and one that a journal can recover", async () => {
    const lab = await Lab.open();
    const free = await lab.qcowal("repair", "--without-journal", "a.qcow2");
    expect(free).toMatchObject({ code: 1, stderr: expect.stringContaining("is not fenced") });
    await lab.dieAt(revertIn(lab), "lower");
    const fenced = await lab.bytes();
    // The fence names its journal, so another one on the command line makes no difference.
    for (const args of [[], ["--journal", "elsewhere"], ["-n"]]) {
      const { code, stderr } = await lab.qcowal("repair", "--without-journal", "a.qcow2", ...args);
      expect(code).toBe(6);
      expect(stderr).toContain(`the journal ${lab.path(".qcowal")} is there and can finish or undo`);
    }
    expect(fenced.equals(await lab.bytes())).toBe(true);
  });

  test.each([
    ["raise", "before"],
    ["lower", "after"],
  ] as const)("with the journal gone, killed at %s: as %s, clean for qemu-img", async (step, outcome) => {
    const lab = await Lab.open();
    const before = await lab.bytes();
    await lab.dieAt(revertIn(lab), step);
    await rename(lab.path(".qcowal"), lab.path("lost"));
    for (const args of [["list"], ["recover"], ["create", "x"]]) {
      const { code, stderr } = await lab.qcowal(...args, "a.qcow2");
      expect(code, args.join(" ")).toBe(6);
      expect(stderr).toContain(`qcowal repair --without-journal ${lab.path("a.qcow2")}`);
    }
    await expect(access(lab.path(".qcowal"))).rejects.toThrow(/ENOENT/);
    const fenced = await lab.bytes();
    const [dry] = await lab.json<{ summary: object }[]>("repair", "--without-journal", "a.qcow2", "-n");
    expect(fenced.equals(await lab.bytes())).toBe(true);
    const [report] = await lab.json<{ summary: object }[]>("repair", "--without-journal", "a.qcow2");
    expect(report).toEqual(dry);
    expect(report).toMatchObject({ image: lab.path("a.qcow2"), interrupted: { transaction: 2 } });
    expect(report).not.toHaveProperty("recordedIn");
    expect((await run("ls", [lab.path(".qcowal")])).code).not.toBe(0);
    expect(await lab.verdict()).toBe("clean");
    await must("qemu-img", ["check", lab.path("a.qcow2")]);
    const header = (await lab.bytes()).subarray(0, 4096);
    expect(header.equals(before.subarray(0, 4096))).toBe(outcome === "before");

    // The journal turns up again: it changes nothing, and does not claim what did not happen.
    await rename(lab.path("lost"), lab.path(".qcowal"));
    const { stderr } = await lab.qcowal("recover", "a.qcow2");
    const history = await lab.json("history", "a.qcow2");
    if (outcome === "before") {
      expect(stderr).toContain("had been decided, but");
      expect(history).toMatchObject([
        { status: "unconfirmed", doubt: expect.stringContaining("its header is as before") },
      ]);
    } else expect(history).toMatchObject([{ status: "finished by recovery" }]);
    expect(await lab.verdict()).toBe("clean");
  });

  test("with an older copy of the journal: recover names it, repair takes a note for the history", async () => {
    const lab = await Lab.open();
    await lab.json("create", "x", "a.qcow2");
    await cp(lab.path(".qcowal"), lab.path("backup"), { recursive: true });
    await lab.dieAt(revertIn(lab), "switch");
    await rm(lab.path(".qcowal"), { recursive: true });
    await rename(lab.path("backup"), lab.path(".qcowal"));
    const { code, stderr } = await lab.qcowal("recover", "a.qcow2");
    expect(code).toBe(6);
    expect(stderr).toMatch(/has lost its record of it: it is an older copy, or its end is missing/);
    const args = ["--actor", "ops", "--reason", "journal disk died"];
    const done = await lab.qcowal("repair", "--without-journal", "a.qcow2", ...args);
    expect(done).toMatchObject({ code: 0, stderr: expect.stringContaining("a.qcow2: repaired by a scan") });
    expect(await lab.verdict()).toBe("clean");
    expect(await lab.json("history", "a.qcow2")).toMatchObject([
      { status: "done" },
      {
        status: "repaired by a scan",
        operations: [],
        images: [{ image: lab.path("a.qcow2") }],
        actor: { name: "ops" },
        reason: "journal disk died",
        repair: { interrupted: { journal: lab.path(".qcowal") } },
      },
    ]);
    const { stdout } = await lab.qcowal("history", "a.qcow2");
    expect(stdout).toMatch(/repaired by a scan +repair after \d+ +a\.qcow2 .* ops, .* "journal disk died"/);
  });

  test("with a journal that cannot be read: recover names the image and the way out, which is open", async () => {
    const lab = await Lab.open();
    await lab.dieAt(revertIn(lab), "lower");
    await run("sh", ["-c", `truncate -s 0 ${lab.path(".qcowal")}/leveldb/*.log`]);
    const { code, stderr } = await lab.qcowal("recover", "a.qcow2");
    expect(code).toBe(6);
    expect(stderr).toMatch(/a\.qcow2 is fenced by interrupted transaction 2.*has lost its records/);
    expect(await lab.qcowal("repair", "--without-journal", "a.qcow2", "-q")).toMatchObject({
      code: 0,
      stderr: "",
    });
    expect(await lab.verdict()).toBe("clean");
    expect((await lab.qcowal("create", "x", "a.qcow2")).stderr).toContain("has lost its records");
  });
});

test("an encrypted image, and one with bitmaps, are counted whole", async () => {
  const lab = await Lab.open();
  const secret = ["--object", "secret,id=key,data=secret"];
  await createEncrypted(lab.path("luks.qcow2"), 4 * 1024 * 1024, "secret");
  await must("qemu-img", ["create", "-q", "-f", "qcow2", lab.path("bitmaps.qcow2"), "64M"]);
  await must("qemu-io", ["-c", "write -q -P 1 0 1M", lab.path("bitmaps.qcow2")]);
  for (const name of ["b0", "b1"]) {
    await must("qemu-img", ["bitmap", "--add", lab.path("bitmaps.qcow2"), name]);
    await must("qemu-io", ["-c", "write -q -P 2 1M 1M", lab.path("bitmaps.qcow2")]);
  }
  for (const name of ["luks.qcow2", "bitmaps.qcow2"]) {
    for (const step of ["switch", "unfence"] as const) {
      const image = lab.path(name);
      await lab.dieAt({ type: "create", image, name: step }, step);
      await rm(lab.path(".qcowal"), { recursive: true });
      await lab.json("repair", "--without-journal", image);
      const options =
        name === "luks.qcow2" ? `driver=qcow2,encrypt.key-secret=key,file.filename=${image}` : "";
      await must(
        "qemu-img",
        options === "" ? ["check", image] : ["check", ...secret, "--image-opts", options],
      );
    }
    expect(await lab.names(name)).toEqual(["unfence"]);
  }
});

test("the API refuses and repairs like the command", async () => {
  const lab = await Lab.open();
  const image = lab.path("a.qcow2");
  await lab.dieAt(revertIn(lab), "lower");
  const refused = await repairWithoutJournal(image).catch((error: unknown) => error);
  expect(isQcowalError(refused, "NEEDS_RECOVERY")).toBe(true);
  await rm(lab.path(".qcowal"), { recursive: true });
  await using elsewhere = await openPool(lab.path("other"));
  // A journal that somebody holds may be the one that knows: it is not passed over.
  const busy = repairWithoutJournal(image, { journal: elsewhere.journal, waitMs: 0 });
  await expect(busy).rejects.toMatchObject({ code: "JOURNAL_IN_USE" });
  await expect(repairWithoutJournal(image)).resolves.toMatchObject({ image });
  await expect(repairWithoutJournal(image)).rejects.toMatchObject({ code: "NOTHING_TO_REPAIR" });
});
