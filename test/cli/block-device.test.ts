/** An image on a block device: its length is fixed, and nothing can lie beside it. Needs root, for a loop device. */
import { readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { openPool } from "../../src/index.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { must, run } from "../support/programs.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { victim } from "./lab.ts";

beforeAll(requireQemu);
beforeAll(requireBuiltCommand);

const MIB = 1024 * 1024;

interface Device {
  readonly path: string;
  /** What is behind it. */
  readonly file: string;
  readonly journal: string;
}

async function device(size: number): Promise<Device> {
  const dir = await tempDir();
  const file = join(dir, "behind");
  await writeFile(file, "");
  await truncate(file, size);
  const found = await run("losetup", ["--find", "--show", file]);
  if (found.code !== 0) throw new Error(`this test needs a loop device, and root: ${found.stderr}`);
  const path = found.stdout.trim();
  onTestFinished(async () => {
    await must("losetup", ["--detach", path]);
  });
  return { path, file, journal: join(dir, "journal") };
}

async function qcowal({ journal }: Device, ...words: readonly string[]) {
  const [program = "", ...args] = cli(...words, "--journal", journal);
  return run(program, args);
}

// The helpers for files tell qemu that it is one.
const io = (path: string, command: string): Promise<string> =>
  must("qemu-io", ["-f", "qcow2", "-c", command, path]);

const sameContent = async (a: string, b: string): Promise<boolean> =>
  (await run("qemu-img", ["compare", "-q", a, b])).code === 0;

async function expectClean({ path }: Device): Promise<void> {
  const { code, stdout, stderr } = await run("qemu-img", ["check", "-f", "qcow2", path]);
  expect(code, stdout + stderr).toBe(0);
}

describe("an image on a block device", () => {
  test("is snapshotted, reverted and deleted like a file, and its space is given back", async () => {
    const disk = await device(32 * MIB);
    await must("qemu-img", ["create", "-q", "-f", "qcow2", disk.path, "64M"]);
    await io(disk.path, "write -q -P 1 0 4M");
    const copy = `${disk.file}.copy`;
    await must("qemu-img", ["convert", "-f", "qcow2", "-O", "qcow2", disk.path, copy]);
    expect(await qcowal(disk, "create", "first", disk.path)).toMatchObject({ code: 0 });
    await expectClean(disk);
    await io(disk.path, "write -q -P 2 0 8M");
    await must("sync", []);
    const full = (await stat(disk.file)).blocks;
    expect(await qcowal(disk, "revert", "first", disk.path)).toMatchObject({ code: 0 });
    await expectClean(disk);
    expect(await sameContent(disk.path, copy)).toBe(true);
    await must("sync", []);
    expect((await stat(disk.file)).blocks).toBeLessThan(full - (3 * MIB) / 512);
    expect(await qcowal(disk, "delete", "first", disk.path)).toMatchObject({ code: 0 });
    await expectClean(disk);
    expect(await sameContent(disk.path, copy)).toBe(true);
    const history = await qcowal(disk, "history", disk.path);
    expect(history.stdout.match(/ done /g)).toHaveLength(3);
  });

  test("has no journal beside it: one has to be named", async () => {
    const disk = await device(8 * MIB);
    await must("qemu-img", ["create", "-q", "-f", "qcow2", disk.path, "16M"]);
    for (const words of [["create", "x"], ["history"], ["recover"]]) {
      const [program = "", ...args] = cli(...words, disk.path);
      const { code, stderr } = await run(program, args);
      expect({ code, stderr }, words.join(" ")).toMatchObject({
        code: 2,
        stderr: expect.stringContaining(`${disk.path} is a block device: say with --journal`),
      });
    }
    expect((await qcowal(disk, "list", disk.path)).code).toBe(0);
  });

  test("that is full refuses a snapshot before anything is written", async () => {
    const disk = await device(8 * MIB);
    await must("qemu-img", ["create", "-q", "-f", "qcow2", disk.path, "64M"]);
    // Until there is one cluster left: a snapshot needs one for its L1 table and one for the list.
    await io(disk.path, "write -q -P 1 0 1M");
    const text = await must("qemu-img", ["check", "-f", "qcow2", "--output=json", disk.path]);
    const end = (JSON.parse(text) as { "image-end-offset": number })["image-end-offset"];
    await io(disk.path, `write -q -P 1 1M ${8 * MIB - end - 64 * 1024}`);
    const before = await readFile(disk.path);
    const { code, stderr } = await qcowal(disk, "create", "x", disk.path);
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /is a block device of 8388608 bytes, and \d+ are needed\. Nothing was changed/,
      ),
    });
    expect(before.equals(await readFile(disk.path))).toBe(true);
    await expectClean(disk);
  });

  test("is recovered like a file", async () => {
    const disk = await device(16 * MIB);
    await must("qemu-img", ["create", "-q", "-f", "qcow2", disk.path, "64M"]);
    await io(disk.path, "write -q -P 1 0 2M");
    const program = await victim();
    for (const [step, names] of [
      ["reserve", []],
      ["switch", ["x"]],
    ] as const) {
      const operation = JSON.stringify({ type: "create", image: disk.path, name: "x" });
      const killed = await run(process.execPath, [program, disk.journal, operation, step]);
      expect(killed.signal, killed.stderr).toBe("SIGKILL");
      expect((await run("qemu-img", ["info", disk.path])).code).not.toBe(0);
      expect(await qcowal(disk, "recover", disk.path)).toMatchObject({ code: 0 });
      await expectClean(disk);
      await using pool = await openPool(disk.journal);
      expect((await pool.list(disk.path)).map(({ name }) => name)).toEqual(names);
    }
  });
});
