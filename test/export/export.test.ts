import { readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openView, writeRaw } from "../../src/index.ts";
import { writeImage } from "../../tools/image-maker/index.ts";
import { Lab, SPEC } from "../cli/lab.ts";
import { inspectImage, readRoot } from "../support/naive-qcow2.ts";
import { tempDir } from "../support/qemu.ts";

async function imageIn(dir: string): Promise<{ path: string; content: (position: number) => Uint8Array }> {
  const path = join(dir, "a.qcow2");
  await writeImage(path, { ...SPEC, virtualSize: 4 * 1024 * 1024 });
  const bytes = new Uint8Array(await readFile(path));
  return { path, content: (position) => readRoot(bytes, position) };
}

test("a snapshot is written whole and with holes, or nothing is", async () => {
  const dir = await tempDir();
  const { path, content } = await imageIn(dir);
  const out = join(dir, "out.raw");
  await using view = await openView(path, { snapshot: "one" });
  const aborted = writeRaw(view, out, { signal: AbortSignal.abort() });
  await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
  expect(await readdir(dir)).toEqual(["a.qcow2"]);
  const { size, written } = await writeRaw(view, out);
  expect(size).toBe(4 * 1024 * 1024);
  expect(written).toBeLessThan(100_000);
  expect((await stat(out)).blocks * 512).toBeLessThan(200_000);
  expect(Buffer.compare(await readFile(out), content(0))).toBe(0);
  await expect(writeRaw(view, out)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
  await expect(writeRaw(view, path, { force: true })).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
  await writeFile(out, "other");
  await writeRaw(view, out, { force: true });
  expect(Buffer.compare(await readFile(out), content(0))).toBe(0);
  expect((await readdir(dir)).toSorted()).toEqual(["a.qcow2", "out.raw"]);
});

test("the command exports what IMAGE@NAME names", async () => {
  const lab = await Lab.open();
  const { snapshots } = inspectImage(new Uint8Array(await lab.bytes()));
  expect(snapshots).toHaveLength(2);
  const done = await lab.qcowal("export", "a.qcow2@two", "two.raw", "--json");
  expect(JSON.parse(done.stdout)).toMatchObject({ out: lab.path("two.raw"), size: 1024 * 1024 });
  const wanted = readRoot(new Uint8Array(await lab.bytes()), 1);
  expect(Buffer.compare(await lab.bytes("two.raw"), wanted)).toBe(0);
  expect(await lab.qcowal("export", "a.qcow2@two", "two.raw")).toMatchObject({ code: 1 });
  expect(await lab.qcowal("export", "a.qcow2@three", "x.raw")).toMatchObject({ code: 1 });
});
