import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { tablesInHole, writeTo } from "../hostile/large-images.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { readRoot } from "../support/naive-qcow2.ts";
import { run } from "../support/programs.ts";
import { requireQemu } from "../support/qemu.ts";
import { Vm } from "../support/vm.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(async () => {
  await requireQemu();
  requireBuiltCommand();
});

describe("qcowal export that is", () => {
  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("called off by %s says so, and leaves nothing", async (signal, code) => {
    const lab = await Lab.open({});
    // Seconds of tables, and then nothing to write: no moment is too late.
    await writeTo(lab.path("a.qcow2"), tablesInHole());
    const [node = "", ...args] = cli("export", "a.qcow2", "out.raw");
    const child = spawn(node, args, { cwd: lab.dir, stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
    const ended = once(child, "close");
    await expect.poll(() => readdir(lab.dir), { timeout: 30_000 }).toHaveLength(2);
    child.kill(signal);
    expect(await ended).toEqual([code, null]);
    expect(stderr).toContain("called off");
    expect(await readdir(lab.dir)).toEqual(["a.qcow2"]);
  });

  test("written to a pipe that closes early ends quietly, like cat", async () => {
    // More than a pipe holds.
    const active = { changes: [{ at: 0, count: 250, kind: "data", seed: 3 }] } as const;
    const lab = await Lab.open({ "a.qcow2": { ...SPEC, active } });
    for (const words of [
      ["export", "a.qcow2", "-"],
      ["send", "a.qcow2"],
    ]) {
      const script = '"$@" | head -c 100 >/dev/null; echo "${PIPESTATUS[0]}"';
      const { stdout, stderr } = await run("bash", ["-c", script, "bash", ...cli(...words)], {
        cwd: lab.dir,
      });
      expect({ stdout, stderr }, words[0]).toEqual({ stdout: "141\n", stderr: "" });
    }
  });
});

test("what a running VM holds is read with -U, and else refused with a word on what that means", async () => {
  const lab = await Lab.open();
  const [one, active] = [readRoot(await lab.bytes(), 0), readRoot(await lab.bytes(), "active")];
  await using vm = await Vm.start({ disks: [lab.path("a.qcow2")] });
  for (const words of [
    ["export", "a.qcow2@one", "out.raw"],
    ["map", "a.qcow2"],
    ["diff", "a.qcow2", "one"],
    ["send", "a.qcow2@one", "-o", "stream"],
    ["serve", "a.qcow2", "--socket", "socket"],
    ["list", "a.qcow2"],
  ]) {
    const { code, stderr } = await lab.qcowal(...words);
    expect(code, words[0]).toBe(5);
    expect(stderr, words[0]).toMatch(/is in use by another process .*\nWith -U .* of no single moment\.\n$/);
  }
  expect(await readdir(lab.dir)).toEqual(["a.qcow2"]);
  const { stderr } = await lab.qcowal("clone", "a.qcow2", "b.qcow2");
  expect(stderr).not.toContain("-U");

  await vm.io(0, "write -P 9 0 64k");
  for (const [words, content] of [
    [["export", "-U", "a.qcow2@one", "one.raw"], one],
    [["export", "--force-share", "a.qcow2", "now.raw"], undefined],
  ] as const) {
    expect(await lab.qcowal(...words)).toMatchObject({ code: 0 });
    if (content !== undefined) expect(Buffer.compare(await lab.bytes("one.raw"), content)).toBe(0);
  }
  const now = await lab.bytes("now.raw");
  expect(Buffer.compare(now.subarray(64 << 10), active.subarray(64 << 10))).toBe(0);
});
