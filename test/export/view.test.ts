import { createHash } from "node:crypto";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type View, listSnapshots, openPool, openView } from "../../src/index.ts";
import { openFileDisk } from "../../src/disk/index.ts";
import { inspectImage } from "../support/naive-qcow2.ts";
import { must } from "../support/programs.ts";
import { createImage, io, rawDigest, requireQemu, snapshotCreate, tempDir } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";
import { readShapes } from "./read-shapes.ts";

beforeAll(requireQemu);

async function digest(view: View, chunkBytes?: number): Promise<string> {
  const hash = createHash("sha256");
  const options = chunkBytes === undefined ? {} : { chunkBytes };
  for await (const { bytes } of view.chunks(0, view.size, options)) hash.update(bytes);
  return hash.digest("hex");
}

describe("a view", () => {
  test.each(readShapes)("reads what qemu reads: $name", async (shape) => {
    const path = await shape.build(await tempDir(), seededRandom(1));
    if (shape.encrypted === true) {
      await expect(openView(path)).rejects.toMatchObject({ code: "IMAGE_UNSUPPORTED" });
      return;
    }
    {
      await using view = await openView(path);
      expect(await digest(view)).toBe(await rawDigest(path));
      let end = 0;
      for await (const extent of view.extents()) {
        expect(extent.offset).toBe(end);
        end += extent.length;
      }
      expect(end).toBe(view.size);
    }
    const { header } = inspectImage(new Uint8Array(await readFile(path)));
    for (const { id, diskSize } of (await listSnapshots(path)).slice(0, 3)) {
      await using view = await openView(path, { snapshot: { id } });
      expect(view.size).toBe(diskSize ?? header.virtualSize);
      // QEMU gives a snapshot the size that the image has now.
      if (view.size !== header.virtualSize) continue;
      // An odd size of chunks: parts of clusters, and of subclusters.
      expect(await digest(view, 77_777)).toBe(await rawDigest(path, { snapshotId: id }));
    }
  });

  test("reads through three files, the last of which is short", async () => {
    const dir = await tempDir();
    await writeFile(join(dir, "base.raw"), Buffer.alloc(100_000, 7));
    const middle = join(dir, "middle.qcow2");
    await createImage(middle, { size: 1024 * 1024, backing: { file: "base.raw", format: "raw" } });
    await io(middle, "write -P 3 64k 10k", "write -z 512k 64k");
    const top = join(dir, "top.qcow2");
    await createImage(top, { size: 2 * 1024 * 1024, backing: { file: "middle.qcow2", format: "qcow2" } });
    await snapshotCreate(top, "untouched");
    await io(top, "write -P 9 1000 70000");
    await using view = await openView(top);
    expect(view.files.map((file) => file.slice(dir.length + 1))).toEqual([
      "top.qcow2",
      "middle.qcow2",
      "base.raw",
    ]);
    expect(await digest(view)).toBe(await rawDigest(top));
    await using old = await openView(top, { snapshot: "untouched" });
    expect(await digest(old)).toBe(await rawDigest(top, { snapshotId: "1" }));
  });

  test("refuses a chain that comes back to itself, and names that are no files", async () => {
    const dir = await tempDir();
    const a = join(dir, "a.qcow2");
    const b = join(dir, "b.qcow2");
    await createImage(a, { size: 1024 * 1024 });
    await createImage(b, { size: 1024 * 1024, backing: { file: "a.qcow2", format: "qcow2" } });
    await must("qemu-img", ["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "b.qcow2", a]);
    await expect(openView(a)).rejects.toMatchObject({ code: "IMAGE_INVALID" });
    for (const name of ["json:{}", "nbd://host/disk"]) {
      await must("qemu-img", ["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", name, a]);
      await expect(openView(a)).rejects.toMatchObject({ code: "IMAGE_UNSUPPORTED" });
    }
    await must("qemu-img", ["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "gone.raw", a]);
    await expect(openView(a)).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
    // Nothing stayed open: a writer gets in.
    await (await openFileDisk(a, "write")).close();
  });

  test("reads an external data file", async () => {
    const path = join(await tempDir(), "a.qcow2");
    await createImage(path, { size: 1024 * 1024, options: { data_file: `${path}.raw` } });
    await io(path, "write -P 5 0 64k", "write -P 6 300k 100k");
    await using view = await openView(path);
    expect(await digest(view)).toBe(await rawDigest(path));
  });

  test("keeps writers out, and is kept out by them", async () => {
    const dir = await tempDir();
    const path = join(dir, "a.qcow2");
    await createImage(path, { size: 1024 * 1024 });
    await using pool = await openPool(join(dir, ".qcowal"));
    {
      await using view = await pool.view(path);
      await expect(pool.create(path, "one")).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
      expect(view.size).toBe(1024 * 1024);
    }
    const writer = await openFileDisk(path, "write");
    await expect(pool.view(path)).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await (await pool.view(path, undefined, { forceShare: true })).close();
    await writer.close();
    await pool.create(path, "one");
    await (await pool.view(path, "one")).close();
    await expect(pool.view(path, "two")).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
  });

  test("of a file that lost its end refuses or reads, and is called off by its signal", async () => {
    const dir = await tempDir();
    const path = join(dir, "a.qcow2");
    await createImage(path, { size: 8 * 1024 * 1024 });
    await io(path, "write -P 5 0 8M");
    await truncate(path, 5 * 1024 * 1024);
    await using view = await openView(path);
    const target = Buffer.alloc(1024 * 1024, 1);
    await view.read(7 * 1024 * 1024, target);
    expect(target.every((byte) => byte === 0)).toBe(true);
    await expect(view.read(view.size - 1, Buffer.alloc(2))).rejects.toThrow(RangeError);
    const chunks = view.chunks(0, view.size, { signal: AbortSignal.abort() });
    await expect(chunks.next()).rejects.toMatchObject({ code: "ABORTED" });
    let length = 0;
    for await (const bytes of view.stream(5, 3_000_000)) length += (bytes as Buffer).length;
    expect(length).toBe(3_000_000);
  });
});
