import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, open, readdir } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { openPool } from "../../src/index.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { requireQemu } from "../support/qemu.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(requireQemu);
beforeAll(requireBuiltCommand);

describe("wrong use is told on stderr, with a hint, and answered with 2:", () => {
  test.each([
    [[]],
    [["frobnicate"]],
    [["create"]],
    [["create", "name"]],
    [["create", "name", "a.qcow2", "--no-such-option"]],
    [["create", "name", "a.qcow2", "--journal"]],
    [["create", "name", "a.qcow2", "--journal", ""]],
    [["create", "name", "a.qcow2", "--wait", "soon"]],
    [["create", "name", "a.qcow2", "--wait", "-1"]],
    [["revert", "name"]],
    [["list"]],
    [["list", "a.qcow2", "b.qcow2"]],
    [["blame", "a.qcow2"]],
    [["history", "a.qcow2", "elsewhere/b.qcow2"]],
    [["delete", "--name", "one"]],
    [["delete", "one"]],
    [["delete", "one", "a.qcow2", "--recoverable=soon"]],
    [["run"]],
    [["undo", "a.qcow2", "last"]],
  ])("%j", async (args) => {
    const lab = await Lab.open();
    await mkdir(lab.path("elsewhere"));
    const before = await lab.bytes();
    const { code, stdout, stderr } = await lab.qcowal(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(args.length === 0 ? /^Usage: qcowal/ : /^qcowal: .*\nTry 'qcowal .*--help'\.\n$/);
    expect(before.equals(await lab.bytes())).toBe(true);
  });
});

describe("what failed and changed nothing is answered with 1:", () => {
  test.each([
    ["an image that is not there", ["create", "x", "missing.qcow2"], "IMAGE_NOT_FOUND"],
    ["a snapshot that is not there", ["revert", "x", "a.qcow2"], "SNAPSHOT_NOT_FOUND"],
    ["an id that is not there", ["delete", "id:9", "a.qcow2"], "SNAPSHOT_NOT_FOUND"],
    ["a name that exists", ["create", "one", "a.qcow2"], "SNAPSHOT_EXISTS"],
    ["an empty name", ["create", "", "a.qcow2"], "SNAPSHOT_NAME_INVALID"],
    ["a name of 256 bytes", ["create", "x".repeat(256), "a.qcow2"], "SNAPSHOT_NAME_INVALID"],
    ["a journal that is not there", ["history", "--journal", "none"], "JOURNAL_NOT_FOUND"],
    ["a recovery without journal and image", ["recover", "--journal", "none"], "JOURNAL_NOT_FOUND"],
  ])("%s", async (_what, args, code) => {
    const lab = await Lab.open();
    const before = await lab.bytes();
    const text = await lab.qcowal(...args);
    expect(text).toMatchObject({ code: 1, stdout: "", stderr: expect.stringMatching(/^qcowal: /) });
    const json = await lab.qcowal(...args, "--json");
    expect(json).toMatchObject({ code: 1, stdout: "" });
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code, message: expect.any(String) } });
    expect(before.equals(await lab.bytes())).toBe(true);
    // Where there was no journal there is none now, not even an empty one.
    expect(await readdir(lab.dir)).toEqual(["a.qcow2"]);
  });

  test("a damaged image, also by the drop-in for qemu-img; a journal that is there stays", async () => {
    const lab = await Lab.open();
    const image = await open(lab.path("a.qcow2"), "r+");
    // The corrupt bit of the incompatible features.
    await image.write(Buffer.from([2]), 0, 1, 79);
    await image.close();
    expect((await lab.qcowal("create", "x", "a.qcow2")).stderr).toContain("is marked corrupt");
    expect((await lab.qcowal("snapshot", "-c", "x", "a.qcow2")).code).toBe(1);
    expect((await lab.qcowal("create", "x", "a.qcow2", "--journal", "named")).code).toBe(1);
    expect(await readdir(lab.dir)).toEqual(["a.qcow2"]);
    await (await openPool(lab.path(".qcowal"))).close();
    expect((await lab.qcowal("create", "x", "a.qcow2")).stderr).toContain("is marked corrupt");
    expect((await readdir(lab.dir)).toSorted()).toEqual([".qcowal", "a.qcow2"]);
  });
});

describe("what is in use is answered with 5:", () => {
  test("an image that a running qemu holds; list looks at it with -U", async () => {
    const lab = await Lab.open();
    const vm = spawn("qemu-io", ["-c", "sleep 60000", lab.path("a.qcow2")], { stdio: "ignore" });
    try {
      let held = await lab.qcowal("create", "x", "a.qcow2");
      // qemu-io takes its locks a moment after it was started.
      for (let tries = 0; held.code === 0 && tries < 50; tries += 1) {
        await setTimeout(100);
        held = await lab.qcowal("create", `x${tries}`, "a.qcow2");
      }
      expect(held).toMatchObject({ code: 5, stdout: "", stderr: expect.stringMatching(/in use|holds|held/) });
      expect((await lab.qcowal("list", "a.qcow2")).code).toBe(5);
      expect((await lab.qcowal("list", "-U", "a.qcow2")).code).toBe(0);
    } finally {
      vm.kill("SIGKILL");
      await once(vm, "exit");
    }
    expect((await lab.qcowal("list", "a.qcow2")).code).toBe(0);
  });

  test("a journal that another process holds, after the wait that was asked for", async () => {
    const lab = await Lab.open();
    await using pool = await openPool(lab.path(".qcowal"), { program: "holder" });
    expect(pool.journal).toBe(lab.path(".qcowal"));
    const { code, stderr } = await lab.qcowal("create", "x", "a.qcow2", "--wait", "0.3");
    expect(code).toBe(5);
    expect(stderr).toContain(`process ${process.pid} (holder)`);
    expect(await lab.names()).toEqual(["one", "two"]);
  });
});

describe("help", () => {
  test.each(["", "create", "revert", "delete", "list", "recover", "history", "snapshot"])(
    "of 'qcowal %s' has examples and goes to stdout",
    async (command) => {
      const lab = await Lab.open({});
      const { code, stdout, stderr } = await lab.qcowal(...(command === "" ? [] : [command]), "--help");
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toContain(`Usage: qcowal ${command}`.trim());
      expect(stdout).toContain("Examples:\n  $ qcowal ");
    },
  );

  test("tells the exit codes", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC });
    expect((await lab.qcowal("--help")).stdout).toMatch(
      /Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 .*\n {2}3 .*\n {2}4 .*\n {2}5 .*\n {2}6 /,
    );
  });
});
