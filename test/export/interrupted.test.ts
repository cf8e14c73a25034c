import { readdir } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { timedProcess } from "../../tools/bench/measure/timed-process.ts";
import { Lab } from "../cli/lab.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { type Ended, must, run } from "../support/programs.ts";
import { createImage, io, judge, requireQemu, sameContent } from "../support/qemu.ts";

beforeAll(async () => {
  await requireQemu();
  requireBuiltCommand();
});

const MIB = 2 ** 20;

const FORMATS = [
  ["raw", []],
  ["qcow2", ["--compress", "none"]],
] as const;

/** One of the first pieces, of at most 2 MiB, of 64 MiB: those that follow it at once are on their way by then. */
const EARLY = 4;

describe.each(FORMATS)("an export as %s that does not come to its end", (format, how) => {
  async function exported(fault: string): Promise<{ lab: Lab; ended: Ended; again: () => Promise<Ended> }> {
    const lab = await Lab.open({});
    await createImage(lab.path("a.qcow2"), { size: "64M" });
    await io(lab.path("a.qcow2"), "write -P 5 0 64M");
    const args = ["export", "--format", format, ...how, "a.qcow2", "out"];
    const strace = ["-f", "-qq", "-o", "/dev/null", "-e", `trace=pwrite64,fsync`, "-e", `inject=${fault}`];
    const env = {
      // strace counts by thread: with one for all the file's calls, its count is the one meant.
      UV_THREADPOOL_SIZE: "1",
    };
    const ended = await run("strace", [...strace, ...cli(...args)], { cwd: lab.dir, env });
    return { lab, ended, again: () => lab.qcowal(...args) };
  }

  test.each([
    ["finds no space", `pwrite64:error=ENOSPC:when=${EARLY}`, 1, "Nothing is left"],
    ["cannot be synced", "fsync:error=EIO:when=1", 1, "Nothing is left"],
    ["is called off", `pwrite64:signal=TERM:when=${EARLY}`, 143, "Nothing is left"],
  ])("because it %s leaves nothing, and says so", async (_, fault, code, words) => {
    const { lab, ended, again } = await exported(fault);
    expect(ended, ended.stderr).toMatchObject({ code });
    expect(ended.stderr).toContain(words);
    expect(await readdir(lab.dir)).toEqual(["a.qcow2"]);
    expect(await again()).toMatchObject({ code: 0 });
  });

  test("because it is killed leaves nothing under its name", async () => {
    const { lab, ended, again } = await exported(`pwrite64:signal=KILL:when=${EARLY}`);
    expect(ended.code).not.toBe(0);
    const names = await readdir(lab.dir);
    expect(names.filter((name) => !/^\.out\..*\.partial$/.test(name))).toEqual(["a.qcow2"]);
    expect(await again()).toMatchObject({ code: 0 });
    if (format === "qcow2") await judge(lab.path("out"));
    expect(await sameContent(lab.path("a.qcow2"), lab.path("out"))).toBe(true);
  });
});

test("an export holds a bounded part of what it writes", async () => {
  const lab = await Lab.open({});
  const [plain, zlib, out] = ["a.qcow2", "zlib.qcow2", "out"].map((name) => lab.path(name)) as [
    string,
    string,
    string,
  ];
  await createImage(plain, { size: "320M" });
  await io(plain, "write -P 5 0 320M");
  await must("qemu-img", ["convert", "-c", "-O", "qcow2", plain, zlib]);
  const ways = [
    [zlib, "raw"],
    [zlib, "qcow2", "--compress", "none"],
  ];
  if (process.env["QCOWAL_EXPORT_ALL"] === "1") ways.push([plain, "qcow2"]);
  for (const [image = "", ...format] of ways) {
    const command = cli("export", "-q", image, out, "--force", "--format", ...format);
    const { peakMemory } = await timedProcess(command);
    expect(peakMemory).toBeGreaterThan(30 * MIB);
    expect(peakMemory, command.join(" ")).toBeLessThan(200 * MIB);
  }
});
