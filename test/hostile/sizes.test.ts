/** Small files that ask for large work: check, list and the plan of a snapshot end within 5 s of the processor and 256 MiB, other plans within 5 s, and say what is wrong. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { QcowalError } from "../../src/errors/index.ts";
import { planOn } from "../support/apply-plan.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { run } from "../support/programs.ts";
import { tempDir } from "../support/qemu.ts";
import { LARGE_IMAGES, inMemory, writeTo } from "./large-images.ts";

/** 5 s on a core of its own; one that is shared with other work is slower by up to a half. */
const MAX_CPU_MS = 7500;
const MAX_RSS_MIB = 256;

beforeAll(requireBuiltCommand);

async function withinLimit(action: () => Promise<unknown>): Promise<unknown> {
  const began = process.cpuUsage();
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof QcowalError)) throw error;
    return undefined;
  } finally {
    const { user, system } = process.cpuUsage(began);
    expect((user + system) / 1000, "milliseconds of the processor").toBeLessThan(MAX_CPU_MS);
  }
}

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
  test("takes check, list and the plan of a snapshot no more than 5 s and 256 MiB", async () => {
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
    await measured(["create", "new", "--dry-run", path]);
    await rm(path);
  });
});

describe.each(LARGE_IMAGES.filter(({ plans }) => plans))("$name", ({ make }) => {
  test("takes no plan more than 5 s", async () => {
    const disk = inMemory(make());
    const image = disk.path;
    await withinLimit(() => planOn(disk, { type: "create", image, name: "new" }));
    await withinLimit(() => planOn(disk, { type: "delete", image, id: "" }));
    await withinLimit(() => planOn(disk, { type: "repair", image }));
    await withinLimit(() => planOn(disk, { type: "repair", image, dropDamagedSnapshots: true }));
    expect(disk.events).toBe(0);
  });
});
