import { spawn } from "node:child_process";
import { once } from "node:events";
import { beforeAll, describe, expect, test } from "vitest";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(requireBuiltCommand);

describe("after a kill", () => {
  test("list and --dry-run refuse with 6 and name the journal; recover -n tells, recover does, once", async () => {
    const lab = await Lab.open();
    await lab.dieAt({ type: "revert", image: lab.path("a.qcow2"), name: "one" }, "lower");
    for (const args of [
      ["list", "a.qcow2"],
      ["create", "x", "a.qcow2", "-n"],
      ["recover", "a.qcow2", "--journal", "another"],
    ]) {
      const { code, stderr } = await lab.qcowal(...args);
      expect(code, args.join(" ")).toBe(6);
      expect(stderr).toContain(`qcowal recover --journal ${lab.path(".qcowal")} ${lab.path("a.qcow2")}`);
    }
    const fenced = await lab.bytes();
    const dry = await lab.qcowal("recover", "a.qcow2", "-n");
    expect(dry).toMatchObject({ code: 0, stderr: expect.stringContaining("recovery would finish it") });
    expect(fenced.equals(await lab.bytes())).toBe(true);
    const done = await lab.qcowal("recover", "a.qcow2", "--actor", "ops", "--reason", "power cut");
    expect(done).toMatchObject({ code: 0, stderr: expect.stringContaining("it is finished now") });
    expect(await lab.verdict()).toBe("clean");
    const again = await lab.qcowal("recover");
    expect(again).toMatchObject({ code: 0, stderr: "Nothing to recover.\n" });
    expect(await lab.json("history", "a.qcow2")).toMatchObject([
      { status: "finished by recovery", recoveredBy: { name: "ops" }, recoveryReason: "power cut" },
    ]);
  });

  test("a command that writes recovers first and says so, even when it is refused itself", async () => {
    const lab = await Lab.open();
    await lab.dieAt({ type: "delete", image: lab.path("a.qcow2"), name: "one" }, "commit");
    const { code, stderr } = await lab.qcowal("delete", "missing", "a.qcow2");
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /interrupted transaction \d+ \(delete "one"\) had not been decided, nothing of it is left/,
    );
    expect(stderr).toContain('no snapshot "missing"');
    expect(await lab.names()).toEqual(["one", "two"]);
    expect(await lab.verdict()).toBe("clean");
  });

  test("recover --json lists what it did, over several journals", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC });
    const other = await Lab.open({ "b.qcow2": SPEC });
    await lab.dieAt({ type: "create", image: lab.path("a.qcow2"), name: "x" }, "raise");
    await other.dieAt({ type: "create", image: other.path("b.qcow2"), name: "x" }, "reserve");
    const report = await lab.json("recover", "a.qcow2", other.path("b.qcow2"));
    expect(report).toMatchObject({ recovered: [{ result: "finished" }, { result: "aborted" }], failed: [] });
    expect(await lab.names()).toEqual(["one", "two", "x"]);
    expect(await other.names("b.qcow2")).toEqual(["one", "two"]);
  });
});

describe("called off", () => {
  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("with %s while it waits or works, the image is as before or as after", async (signal, code) => {
    const lab = await Lab.open();
    const [program = "", ...args] = cli("create", "x", "a.qcow2");
    const seen = new Set<number | string | null>();
    let delay = 30;
    // Machines differ, and are busy or not: the signal comes later until it is too late, and then earlier again.
    for (let tries = 0; tries < 16 || (seen.size < 2 && tries < 60); tries += 1) {
      const child = spawn(program, args, { cwd: lab.dir, stdio: "ignore" });
      const timer = setTimeout(() => child.kill(signal), delay);
      const [status, died] = (await once(child, "exit")) as [number | null, string | null];
      clearTimeout(timer);
      seen.add(status ?? died);
      delay *= status === 0 ? 0.7 : 1.25;
      // Before anything was begun the signal's own action ends the process.
      expect([0, 1, code, signal]).toContain(status ?? died);
      await lab.json("recover", "a.qcow2");
      expect(await lab.verdict()).toBe("clean");
      const names = await lab.names();
      if (names.includes("x")) await lab.json("delete", "x", "a.qcow2");
      if (status === code) expect(names).not.toContain("x");
    }
    expect(seen.size).toBeGreaterThan(1);
  });
});
