import { beforeAll, describe, expect, test } from "vitest";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { type Ended, run } from "../support/programs.ts";
import { Lab } from "./lab.ts";

beforeAll(requireBuiltCommand);

/** A terminal: types each answer when its question stands there, and prints all that is shown. */
const TERMINAL = `
import os, pty, sys, select
answers = sys.argv[1].split("|") if sys.argv[1] else []
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
shown = b""
asked = 0
while True:
    try:
        part = os.read(fd, 4096)
    except OSError:
        break
    if not part:
        break
    shown += part
    if shown.count(b"] ") > asked and shown.rstrip(b"\\x1b[0123456789GJKm").endswith(b"] ") and answers:
        asked = shown.count(b"] ")
        os.write(fd, answers.pop(0).replace("^D", "\\x04").encode() + b"\\n")
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(status))
`;

/** The command at a terminal; `answers` are typed one after the other. */
function atTerminal(lab: Lab, answers: readonly string[], ...args: readonly string[]): Promise<Ended> {
  return run("python3", ["-c", TERMINAL, answers.join("|"), ...cli(...args)], {
    cwd: lab.dir,
    env: { TERM: "dumb" },
  });
}

describe("at a terminal", () => {
  test("a delete shows what will happen, and asks: no, yes", async () => {
    const lab = await Lab.open();
    const no = await atTerminal(lab, ["n"], "delete", "one", "a.qcow2");
    expect(no.code).toBe(130);
    expect(no.stdout).toMatch(
      /delete "one" \(id 1\) of 20.*freed.*cannot be brought back.*Go on\? \[y\/N\].*Nothing was changed/s,
    );
    // The end of the input is no.
    expect((await atTerminal(lab, ["^D"], "delete", "one", "a.qcow2")).code).toBe(130);
    expect(await lab.names()).toEqual(["one", "two"]);
    expect(await atTerminal(lab, ["y"], "delete", "one", "a.qcow2")).toMatchObject({ code: 0 });
    expect(await lab.names()).toEqual(["two"]);
  });

  test("a revert offers to keep the disk as it is", async () => {
    const lab = await Lab.open();
    const kept = await atTerminal(lab, ["my state"], "revert", "one", "a.qcow2");
    expect(kept.stdout).toContain("Keep the disk as it is now");
    expect(kept.code).toBe(0);
    expect(await lab.names()).toEqual(["one", "two", "my state"]);
    expect(await atTerminal(lab, ["n", "y"], "revert", "one", "a.qcow2")).toMatchObject({ code: 0 });
    const plain = await atTerminal(lab, ["y"], "revert", "two", "a.qcow2", "--no-keep");
    expect(plain.code).toBe(0);
    expect(plain.stdout).not.toContain("Keep the disk");
    expect(await lab.names()).toHaveLength(3);
  });

  test("a prune shows what goes, what it frees and what is lost, and asks where anything goes", async () => {
    const lab = await Lab.open();
    const no = await atTerminal(lab, ["n"], "prune", "-l", "1", "--all", "a.qcow2");
    expect(no.code).toBe(130);
    expect(no.stdout).toMatch(
      /a\.qcow2: 1 snapshot of 2\s+delete "\w+" \(id \d\) of 20.*KiB freed.*cannot be brought back.*Go on\? \[y\/N\].*Nothing was changed/s,
    );
    expect(await lab.names()).toEqual(["one", "two"]);
    expect(await atTerminal(lab, ["y"], "prune", "-l", "1", "--all", "a.qcow2")).toMatchObject({ code: 0 });
    expect(await lab.names()).toHaveLength(1);
    for (const args of [
      ["-y", "1"],
      ["--max-space", "0", "--dry-run"],
      ["--max-space", "0", "--yes"],
    ]) {
      const { code, stdout } = await atTerminal(lab, [], "prune", "--all", "a.qcow2", ...args);
      expect({ code, stdout }).toEqual({ code: 0, stdout: expect.not.stringContaining("[y/N]") });
    }
    expect(await lab.names()).toEqual([]);
  });

  test("what was interrupted is recovered before the question, which is about what is there then", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    await lab.dieAt({ type: "create", image, name: "new" }, "raise");
    const done = await atTerminal(lab, ["n"], "delete", "new", "a.qcow2");
    expect(done.stdout).toMatch(/interrupted transaction .* finished now.*delete "new" \(id 3\).*Go on\?/s);
    expect(done.code).toBe(130);
    await lab.dieAt({ type: "rename", image, name: "new", to: "newer" }, "reserve");
    const pruned = await atTerminal(lab, ["y"], "prune", "-l", "1", "--all", "a.qcow2");
    expect(pruned.stdout).toMatch(/interrupted transaction .* nothing of it is left.*delete "two".*Go on\?/s);
    expect(await lab.names()).toEqual(["new"]);
    await lab.dieAt({ type: "rename", image, name: "new", to: "newest" }, "raise");
    const tried = await lab.qcowal("undo", "a.qcow2", "--dry-run");
    expect(tried).toMatchObject({ code: 6, stdout: "" });
    const undone = await lab.qcowal("undo", "a.qcow2");
    expect(undone.stderr).toMatch(/finished now.*\n.*renamed "newest" to "new"/);
    expect(await lab.verdict()).toBe("clean");
  });

  test("what loses nothing, --yes and the drop-in for qemu-img are not asked about", async () => {
    const lab = await Lab.open();
    for (const args of [
      ["create", "new", "a.qcow2"],
      ["rename", "new", "newer", "a.qcow2"],
      ["delete", "newer", "a.qcow2", "--recoverable"],
      ["revert", "one", "a.qcow2", "--keep", "kept"],
      ["delete", "kept", "a.qcow2", "--yes"],
      ["snapshot", "-d", "two", "a.qcow2"],
    ]) {
      const { code, stdout } = await atTerminal(lab, [], ...args);
      expect({ code, stdout }).toEqual({ code: 0, stdout: expect.not.stringContaining("[y/N]") });
    }
    expect(await lab.names()).toEqual(["one"]);
  });
});

test("without a terminal nothing is asked, unless the operator wants it: then --yes or a way back is needed", async () => {
  const lab = await Lab.open();
  const asks = { QCOWAL_CONFIRM: "1" };
  const before = await lab.bytes();
  for (const args of [
    ["delete", "one", "a.qcow2"],
    ["revert", "one", "a.qcow2"],
    ["prune", "-l", "1", "--all", "a.qcow2"],
  ]) {
    const { code, stderr } = await lab.with(asks, ...args);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining("--yes") });
  }
  expect(before.equals(await lab.bytes())).toBe(true);
  expect(await lab.with(asks, "prune", "-l", "2", "--all", "a.qcow2")).toMatchObject({ code: 0 });
  expect(await lab.with(asks, "revert", "one", "a.qcow2", "--keep", "kept")).toMatchObject({ code: 0 });
  expect(await lab.with(asks, "delete", "one", "a.qcow2", "--yes")).toMatchObject({ code: 0 });
  expect(await lab.with(asks, "snapshot", "-d", "two", "a.qcow2")).toMatchObject({ code: 0 });
  expect(await lab.qcowal("delete", "kept", "a.qcow2")).toMatchObject({ code: 0 });
  expect(await lab.names()).toEqual([]);
});
