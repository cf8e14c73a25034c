/** Small files that ask for large work: check, list and the plans of a snapshot and of a repair end within 5 s of the processor and 256 MiB, and say what is wrong. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { METER, usedOf } from "../support/meter.ts";
import { run } from "../support/programs.ts";
import { tempDir } from "../support/qemu.ts";
import { LARGE_IMAGES, tablesInHole, withFullTable, writeTo } from "./large-images.ts";

/**
 * 5 s on a core of its own. Of one that is shared with other machines the same
 * work takes three times as much. What this is for, work that grows with the
 * square of what a file names, takes hours.
 */
const MAX_CPU_MS = 20_000;
const MAX_RSS_MIB = 256;

/** With the usage it is the same check, which keeps more: without, only a long run takes it. */
const ALL = process.env["QCOWAL_SIZES_ALL"] === "1";
const CHECKS = [["check", "--usage"], ...(ALL ? [["check"]] : [])];

/** They walk the same tables and differ in what they make of them: each image takes them in turn, a long run both. */
const REPAIRS = [["repair"], ["repair", "--drop-damaged-snapshots"]];
const repairsOf = (image: number): string[][] =>
  ALL ? REPAIRS : REPAIRS.filter((_, index) => index === image % REPAIRS.length);

beforeAll(requireBuiltCommand);

/** Runs the command within its limits; returns what it printed. */
async function measured(args: readonly string[]): Promise<string> {
  const [node = "", ...command] = cli(...args);
  const { stdout, stderr } = await run(node, ["--import", METER, ...command]);
  const used = usedOf(stderr);
  expect(used.cpuMs, `milliseconds of the processor for ${args[0]}`).toBeLessThan(MAX_CPU_MS);
  expect(used.rssMiB, `MiB for ${args.slice(0, 2).join(" ")}`).toBeLessThan(MAX_RSS_MIB);
  return stdout;
}

interface CheckJson {
  readonly corruptions: number;
  readonly findings: readonly unknown[];
}

interface UsageJson {
  readonly usage: { readonly roots: readonly unknown[] };
}

describe.each(LARGE_IMAGES.map((image, index) => ({ ...image, index })))(
  "$name",
  ({ make, corruptions, index }) => {
    test("takes check, list, and the plans of a snapshot and a repair some seconds of the processor and no more than 256 MiB", async () => {
      const path = join(await tempDir(), "large.qcow2");
      await writeTo(path, make());
      for (const args of CHECKS) {
        const report = JSON.parse(await measured([...args, "--json", path])) as CheckJson;
        expect(report.corruptions).toBeGreaterThanOrEqual(corruptions);
        expect(report.findings.length).toBe(1000);
      }
      await measured(["list", path]);
      for (const plan of [["create", "new"], ...repairsOf(index)]) {
        await measured([...plan, "--dry-run", path]);
      }
      await rm(path);
    });
  },
);

describe.each([
  ["names", 24, 480, 480],
  ["extra data", 968, 8, 8],
] as const)("65,535 snapshots with 64 MiB of %s", (what, extra, id, name) => {
  // Whoever prints them prints nothing of extra data: of those only a long run is listed as text.
  const isListed = ALL || what === "names";

  test("are checked, listed, and taken and deleted one more, within the limits", async () => {
    const path = join(await tempDir(), "full.qcow2");
    await writeTo(path, withFullTable(extra, id, name));
    const usage = JSON.parse(await measured(["check", "--usage", "--json", path])) as UsageJson;
    expect(usage).toMatchObject({ "check-errors": 0, findings: [] });
    expect(usage.usage.roots).toHaveLength(65_536);
    expect(JSON.parse(await measured(["list", "--json", path]))).toHaveLength(65_535);
    if (isListed) {
      expect((await measured(["list", path])).split("\n")).toHaveLength(65_537);
      const head = await run("sh", ["-c", '"$@" | head -c 2', "sh", ...cli("list", path)]);
      expect(head).toMatchObject({ stdout: "ID", stderr: "" });
    }
    await measured(["create", "new", path]);
    if (isListed) expect((await measured(["snapshot", "-l", path])).split("\n")).toHaveLength(65_539);
    await measured(["delete", "new", path]);
    expect(await measured(["check", path])).toContain("No errors were found on the image.");
    await rm(dirname(path), { recursive: true });
  });
});

test("4 M L2 tables in a hole are counted until Ctrl-C, which ends it at once", async () => {
  const path = join(await tempDir(), "hole.qcow2");
  await writeTo(path, tablesInHole());
  const [node = "", ...command] = cli("check", path);
  const check = spawn(node, ["--import", METER, ...command], { stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(check, "exit");
  let stderr = "";
  check.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
  await setTimeout(3000);
  const called = performance.now();
  check.kill("SIGINT");
  expect(await ended).toEqual([130, null]);
  expect(performance.now() - called, "milliseconds to its end").toBeLessThan(2000);
  expect(stderr).toContain("The check was called off");
  expect(usedOf(stderr).rssMiB).toBeLessThan(MAX_RSS_MIB);
  await rm(path);
});
