import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { must } from "../support/programs.ts";

const root = resolve(import.meta.dirname, "../..");
const LIMITS = join(root, "tools/fuzz/limits.ts");

/** A worker that measures `action`, started by a process that holds 400 MiB. Returns what the meter says. */
async function said(action: string): Promise<string> {
  const worker = `
    import { Meter } from ${JSON.stringify(LIMITS)};
    const meter = new Meter();
    meter.begin();
    meter.next();
    ${action}
    try { meter.next(); console.log("nothing"); } catch (error) { console.log(error.message); }`;
  const parent = `
    const held = Buffer.alloc(400 * 2 ** 20, 1);
    const { spawnSync } = require("node:child_process");
    const args = ["--import", "tsx", "--input-type=module", "--eval", ${JSON.stringify(worker)}];
    spawnSync(process.execPath, args, { stdio: "inherit" });
    if (held[0] !== 1) throw new Error("not held");`;
  return (await must(process.execPath, ["--eval", parent], { cwd: root })).trim();
}

test("an image that takes little is not told to take too much, however large the fuzzer is", async () => {
  expect(await said("Buffer.alloc(50 * 2 ** 20, 1);")).toBe("nothing");
});

test("an image that takes too much memory is told", async () => {
  expect(await said("Buffer.alloc(200 * 2 ** 20, 1);")).toMatch(/^the process grew by (1[6-9]|2\d)\d MiB$/);
});
