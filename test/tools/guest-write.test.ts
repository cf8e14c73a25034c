import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { guestWrite } from "../../tools/image-maker/guest-write.ts";
import { noise, writeImage } from "../../tools/image-maker/index.ts";
import { judge, requireQemu, tempDir } from "../support/qemu.ts";
import { readRoot } from "../support/naive-qcow2.ts";

beforeAll(requireQemu);

test("the demonstration guest writes what a guest would, and leaves the snapshot alone", async () => {
  const path = join(await tempDir(), "disk.qcow2");
  const size = 65_536;
  await writeImage(path, {
    version: 3,
    clusterBits: 16,
    virtualSize: 64 * 1024 * 1024,
    snapshots: [{ name: "s", changes: [{ at: 0, kind: "data", count: 8 }] }],
    active: { from: 0 },
  });
  const before = readRoot(new Uint8Array(await readFile(path)), 0);
  const clusters = [noise(1, size), noise(2, size), noise(3, size)];
  await guestWrite(path, 6, clusters);
  await guestWrite(path, 7, [noise(4, size)]);
  await judge(path);
  const bytes = new Uint8Array(await readFile(path));
  const guest = before.slice();
  guest.set(noise(1, size), 6 * size);
  guest.set(noise(4, size), 7 * size);
  guest.set(noise(3, size), 8 * size);
  expect(Buffer.compare(readRoot(bytes, "active"), guest)).toBe(0);
  expect(Buffer.compare(readRoot(bytes, 0), before)).toBe(0);
});
