import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openFileDisk } from "../../src/disk/index.ts";
import { run } from "../support/programs.ts";
import { createImage, info, io, requireQemu, tempDir } from "../support/qemu.ts";
import { describeDiskContract } from "../support/disk-contract.ts";

beforeAll(requireQemu);

describeDiskContract("FileDisk", async (bytes) => {
  const path = join(await tempDir(), "disk");
  await writeFile(path, bytes);
  return openFileDisk(path, "write");
});

async function image(): Promise<string> {
  const path = join(await tempDir(), "image.qcow2");
  await createImage(path, { size: "1M" });
  return path;
}

/** A qemu that has the image open read-write until it is told to end. */
async function qemuHolding(path: string, ...options: string[]): Promise<AsyncDisposable> {
  const child = spawn("qemu-io", [...options, path], { stdio: ["pipe", "pipe", "ignore"] });
  // The prompt comes when the image is open.
  await once(child.stdout, "data");
  return {
    async [Symbol.asyncDispose]() {
      child.stdin.end("quit\n");
      await once(child, "exit");
    },
  };
}

describe("the locks of an image file", () => {
  test("an image that a running qemu writes cannot be opened, for writing or reading", async () => {
    const path = await image();
    await using _qemu = await qemuHolding(path);
    await expect(openFileDisk(path, "write")).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await expect(openFileDisk(path, "read")).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await (await openFileDisk(path, "read-unlocked")).close();
  });

  test("an image that a running qemu only reads can be read, not written", async () => {
    const path = await image();
    await using _qemu = await qemuHolding(path, "-r");
    await expect(openFileDisk(path, "write")).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await (await openFileDisk(path, "read")).close();
  });

  test("while we write no qemu opens the image, not even to read it", async () => {
    const path = await image();
    const disk = await openFileDisk(path, "write");
    for (const args of [
      ["snapshot", "-l", path],
      ["snapshot", "-c", "x", path],
      ["check", path],
      ["info", path],
    ]) {
      const finished = await run("qemu-img", args);
      expect(finished.code, args.join(" ")).not.toBe(0);
      expect(finished.stderr).toMatch(/lock/);
    }
    await disk.close();
    await info(path);
  });

  test("while we read qemu may read and not write", async () => {
    const path = await image();
    const disk = await openFileDisk(path, "read");
    expect((await run("qemu-img", ["snapshot", "-l", path])).code).toBe(0);
    expect((await run("qemu-img", ["check", path])).code).toBe(0);
    expect((await run("qemu-img", ["snapshot", "-c", "x", path])).code).not.toBe(0);
    await disk.close();
    await io(path, "write 0 4k");
  });

  test("two of us cannot write the same image, also through a link", async () => {
    const path = await image();
    const link = `${path}.link`;
    await symlink(path, link);
    const disk = await openFileDisk(link, "write");
    expect(disk.path).toBe(path);
    await expect(openFileDisk(path, "write")).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await disk.close();
  });

  test("two of us can read the same image", async () => {
    const path = await image();
    const disks = [await openFileDisk(path, "read"), await openFileDisk(path, "read")];
    await expect(openFileDisk(path, "write")).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    for (const disk of disks) await disk.close();
  });
});

describe("a reader that becomes a writer", () => {
  test("keeps every qemu out from then on, and lets go at the end", async () => {
    const path = await image();
    const disk = await openFileDisk(path, "read");
    expect(disk.lockForWriting?.()).toBe(true);
    expect((await run("qemu-img", ["info", path])).stderr).toMatch(/lock/);
    await expect(openFileDisk(path, "read")).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await disk.write(0, Uint8Array.of(0x51));
    await disk.sync();
    await disk.close();
    await info(path);
  });

  test("is refused beside another reader, who stays one as it does", async () => {
    const path = await image();
    const disk = await openFileDisk(path, "read");
    const other = await openFileDisk(path, "read");
    expect(disk.lockForWriting?.()).toBe(false);
    expect((await run("qemu-img", ["snapshot", "-l", path])).code).toBe(0);
    await other.close();
    expect((await run("qemu-img", ["snapshot", "-c", "x", path])).stderr).toMatch(/lock/);
    expect(disk.lockForWriting?.()).toBe(true);
    await disk.close();
  });

  test("is refused beside a qemu that reads", async () => {
    const path = await image();
    const disk = await openFileDisk(path, "read");
    {
      await using _qemu = await qemuHolding(path, "-r");
      expect(disk.lockForWriting?.()).toBe(false);
    }
    expect(disk.lockForWriting?.()).toBe(true);
    await disk.close();
  });
});

describe("the real file", () => {
  test("a missing image, a directory and an unreadable path are told apart", async () => {
    const dir = await tempDir();
    await expect(openFileDisk(join(dir, "none"), "read")).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
    await expect(openFileDisk(dir, "read")).rejects.toMatchObject({ code: "IMAGE_UNSUPPORTED" });
    await expect(openFileDisk(dir, "write")).rejects.toMatchObject({ name: "QcowalError" });
  });

  test("a discard frees blocks of the file system and keeps the length", async () => {
    const path = join(await tempDir(), "disk");
    const length = 8 * 1024 * 1024;
    await writeFile(path, Buffer.alloc(length, 7));
    const handle = await open(path, "r");
    await handle.sync();
    const before = (await stat(path)).blocks;
    const disk = await openFileDisk(path, "write");
    await disk.discard(0, length / 2);
    await disk.sync();
    await disk.close();
    await handle.close();
    const after = await stat(path);
    expect(after.size).toBe(length);
    expect(after.blocks).toBeLessThan(before);
  });
});

test("is closed when what it reads is read: until then its descriptor is nobody else's", async () => {
  const path = join(await tempDir(), "disk");
  const length = 64 * 1024 * 1024;
  await writeFile(path, Buffer.alloc(length, 7));
  const disk = await openFileDisk(path, "read");
  const target = Buffer.alloc(length);
  let isRead = false;
  const reading = disk.read(0, target).then(() => (isRead = true));
  await disk.close();
  expect(isRead).toBe(true);
  await reading;
  expect(target[length - 1]).toBe(7);
});
