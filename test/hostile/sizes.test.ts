/** Small files that ask for large work: check, list and every plan end within 5 s of the processor and 256 MiB, and say what is wrong. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { run } from "../support/programs.ts";
import { tempDir } from "../support/qemu.ts";
import { LARGE_IMAGES, writeTo } from "./large-images.ts";

/** 5 s on a core of its own; one that is shared with other work is slower by up to a half. */
const MAX_CPU_MS = 7500;
const MAX_RSS_MIB = 256;

beforeAll(requireBuiltCommand);

interface Used {
  readonly cpuMs: number;
  readonly rssMiB: number;
}

/** Has a process say at its end what it took. */
const METER = `data:text/javascript,${encodeURIComponent(`
  process.on("exit", () => {
    const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
    const used = { cpuMs: (userCPUTime + systemCPUTime) / 1000, rssMiB: maxRSS / 1024 };
    process.stderr.write("\\n" + JSON.stringify(used));
  });
`)}`;

/** Runs the command within its limits; returns what it printed. */
async function measured(args: readonly string[], maxRssMiB = MAX_RSS_MIB): Promise<string> {
  const [node = "", ...command] = cli(...args);
  const { stdout, stderr } = await run(node, ["--import", METER, ...command]);
  const used = JSON.parse(stderr.split("\n").at(-1) ?? "") as Used;
  expect(used.cpuMs, `milliseconds of the processor for ${args[0]}`).toBeLessThan(MAX_CPU_MS);
  expect(used.rssMiB, `MiB for ${args.slice(0, 2).join(" ")}`).toBeLessThan(maxRssMiB);
  return stdout;
}

interface CheckJson {
  readonly corruptions: number;
  readonly findings: readonly unknown[];
}

describe.each(LARGE_IMAGES)("$name", ({ make, corruptions, usageMiB = 0 }) => {
  test("takes check, list and every plan no more than 5 s and 256 MiB", async () => {
    const path = join(await tempDir(), "large.qcow2");
    await writeTo(path, make());
    for (const [limit, ...args] of [
      [MAX_RSS_MIB, "check"],
      [MAX_RSS_MIB + usageMiB, "check", "--usage"],
    ] as const) {
      const report = JSON.parse(await measured([...args, "--json", path], limit)) as CheckJson;
      expect(report.corruptions).toBeGreaterThanOrEqual(corruptions);
      expect(report.findings.length).toBe(1000);
    }
    await measured(["list", path]);
    for (const plan of [
      ["create", "new"],
      ["revert", "id:"],
      ["delete", "id:"],
      ["repair"],
      ["repair", "--drop-damaged-snapshots"],
    ]) {
      await measured([...plan, "--dry-run", path]);
    }
    await rm(path);
  });
});
