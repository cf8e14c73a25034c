/** What about locks is most often got wrong. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile, writeFile } from "node:fs/promises";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { openFileDisk } from "../../src/disk/index.ts";
import { run } from "../support/programs.ts";
import { createImage, io, requireQemu, snapshotCreate } from "../support/qemu.ts";
import { killStates, openLab } from "./lab.ts";

beforeAll(requireQemu);

/** A process that holds the file until the test ends; ready when it has said something. */
async function holding(program: string, ...args: readonly string[]): Promise<() => Promise<void>> {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "ignore"] });
  const release = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.stdin.end("quit\n");
    await gone;
  };
  onTestFinished(release);
  await once(child.stdout, "data");
  child.stdout.resume();
  return release;
}

/** Bytes of the file that this process has locked, and how: from the kernel. */
async function locksOn(path: string): Promise<string[]> {
  const file = await open(path);
  const { ino } = await file.stat();
  await file.close();
  const lines = (await readFile("/proc/locks", "utf8")).split("\n");
  // The number in front counts the locks of the whole machine.
  return lines.filter((line) => line.includes(`:${ino} `)).map((line) => line.replace(/^\d+: /, ""));
}

test("qemu's locks are OFD locks on single bytes, which flock and POSIX locks do not meet and a closed descriptor does not drop; -U ignores them, so the fence stands on the disk besides", async () => {
  const { path, pool, bytes } = await openLab();
  await createImage(path, { size: "4M" });
  await io(path, "write -P 1 0 64k");
  await snapshotCreate(path, "s");

  // Somebody's flock keeps neither qemu nor us away ...
  const unlock = await holding("flock", "-x", path, "sh", "-c", "echo held; read line");
  await io(path, "write -P 2 0 64k");
  await pool.create(path, "beside a flock");
  await unlock();

  // ... and a qemu that has it open does.
  const quit = await holding("qemu-io", path);
  await expect(pool.create(path, "x")).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
  await quit();

  const disk = await openFileDisk(path, "write");
  const held = await locksOn(path);
  expect(held.length).toBeGreaterThan(0);
  for (const line of held) expect(line).toMatch(/OFDLCK/);
  // A POSIX lock of this process would be gone with this.
  await (await open(path, "r+")).close();
  expect(await locksOn(path)).toEqual(held);
  const refused = await run("qemu-img", ["info", path]);
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/lock/)]);
  expect((await run("qemu-img", ["info", "-U", path])).code).toBe(0);
  await disk.close();

  const states = await killStates(await bytes(), { type: "delete", image: path, name: "s" });
  let fenced = 0;
  for (const state of states.filter((one) => one[72] !== 0)) {
    await writeFile(path, state);
    const { code, stderr } = await run("qemu-img", ["info", "-U", path]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/unsupported|feature/i)]);
    fenced += 1;
    if (fenced === 3) break;
  }
  expect(fenced).toBe(3);
});
