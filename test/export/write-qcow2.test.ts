import { randomBytes } from "node:crypto";
import { open, readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { checkImage, listSnapshots, openPool, openView, writeQcow2 } from "../../src/index.ts";
import { NewQcow2 } from "../../src/export/new-qcow2.ts";
import { geometryOf } from "../../src/format/index.ts";
import { writeImage } from "../../tools/image-maker/index.ts";
import { Lab, SPEC } from "../cli/lab.ts";
import {
  createImage,
  info,
  io,
  judge,
  rawBytes,
  requireQemu,
  sameContent,
  snapshotCreate,
  tempDir,
} from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";
import { readShapes } from "./read-shapes.ts";

beforeAll(requireQemu);

const KIB = 1024;
const MIB = 1024 * KIB;

/** A few of those that a view is tested with, or all. */
const written = readShapes.filter(
  ({ encrypted }, index) =>
    encrypted !== true && (process.env["QCOWAL_EXPORT_ALL"] === "1" || index % 4 === 0),
);

async function assertClean(path: string): Promise<void> {
  await judge(path);
  expect(await checkImage(path)).toMatchObject({ corruptions: 0, leaks: 0 });
}

describe("a disk that is written as qcow2", () => {
  test.each(written)("is that of the image: $name", async (shape) => {
    const dir = await tempDir();
    const path = await shape.build(dir, seededRandom(1));
    const [snapshot] = await listSnapshots(path);
    const ways = [
      { compress: "zlib", open: {} },
      { compress: "none", open: snapshot === undefined ? {} : { snapshot: { id: snapshot.id } } },
    ] as const;
    for (const { compress, open: which } of ways) {
      const out = join(dir, `${compress}.out`);
      await using view = await openView(path, which);
      const { size, fileSize } = await writeQcow2(view, out, { compress });
      expect(size).toBe(Math.ceil(view.size / 512) * 512);
      expect((await stat(out)).size).toBe(fileSize);
      await assertClean(out);
      const wanted = Buffer.alloc(size);
      await view.read(0, wanted.subarray(0, view.size));
      expect(Buffer.compare(await rawBytes(out), wanted)).toBe(0);
    }
  });

  test("stands for itself, whatever backs the image, and can be written to", async () => {
    const dir = await tempDir();
    const path = join(dir, "top.qcow2");
    await createImage(join(dir, "base.qcow2"), { size: 4 * MIB });
    await io(join(dir, "base.qcow2"), "write -P 3 0 1M", "write -z 2M 64k");
    await createImage(path, { size: 4 * MIB, backing: { file: "base.qcow2", format: "qcow2" } });
    await io(path, "write -P 4 100k 200k");
    await snapshotCreate(path, "one");
    await io(path, "write -P 5 0 4M");
    const out = join(dir, "out.qcow2");
    {
      await using view = await openView(path, { snapshot: "one" });
      const { written: bytes, fileSize } = await writeQcow2(view, out);
      expect(bytes).toBe(MIB);
      expect(fileSize).toBeLessThan(MIB / 2);
    }
    const facts = await info(out);
    expect(facts).toMatchObject({ format: "qcow2", "virtual-size": 4 * MIB, "cluster-size": 65_536 });
    expect(facts["backing-filename"]).toBeUndefined();
    expect(facts.snapshots ?? []).toEqual([]);
    await io(path, "write -P 6 0 64k");
    await io(out, "write -P 7 50k 3M", "read -P 3 0 50k");
    await using pool = await openPool(join(dir, ".qcowal"));
    await pool.create(out, "again");
    await assertClean(out);
  });

  test("is sparse where nothing is, however large, and holds no more than it must", async () => {
    const dir = await tempDir();
    const path = join(dir, "a.qcow2");
    await createImage(path, { size: "40T", options: { cluster_size: 2 * MIB } });
    await io(path, "write -P 1 39T 64k", "write -P 0 3T 2M");
    await using view = await openView(path);
    const out = join(dir, "out.qcow2");
    expect(await writeQcow2(view, out)).toMatchObject({ size: 40 * 2 ** 40, written: 65_536 });
    expect((await stat(out)).blocks * 512).toBeLessThan(2 * MIB);
    await judge(out);
    await io(out, "read -P 1 39T 64k", "read -P 0 3T 2M");
  });

  test("gets its name whole or not at all", async () => {
    const dir = await tempDir();
    const path = join(dir, "a.qcow2");
    await writeImage(path, { ...SPEC, virtualSize: 4 * MIB });
    const out = join(dir, "out.qcow2");
    await using view = await openView(path);
    const controller = new AbortController();
    const seen: string[][] = [];
    const aborted = writeQcow2(view, out, {
      signal: controller.signal,
      onProgress: (done, total) => {
        expect([done <= total, total]).toEqual([true, view.size]);
        controller.abort();
        seen.push([]);
      },
    });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    expect(seen).toHaveLength(1);
    expect(await readdir(dir)).toEqual(["a.qcow2"]);
    await writeQcow2(view, out);
    await expect(writeQcow2(view, out)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    await expect(writeQcow2(view, path, { force: true })).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    await writeQcow2(view, out, { force: true, compress: "none" });
    expect(await sameContent(path, out)).toBe(true);
    expect((await readdir(dir)).toSorted()).toEqual(["a.qcow2", "out.qcow2"]);
    await expect(writeQcow2(view, out, { compress: "lzo" as never })).rejects.toThrow(TypeError);
  });
});

test("the refcounts of a written image are right where its blocks and tables are many", async () => {
  const geometry = geometryOf({ version: 3, clusterBits: 9, refcountOrder: 4, extendedL2: false });
  for (let seed = 1; seed <= 5; seed += 1) {
    const random = seededRandom(seed);
    // A refcount block is of 128 KiB, and streams lie in one cluster or cross into the next.
    const content = Buffer.alloc(512 * (1000 + random.int(2000)));
    const path = join(await tempDir(), "a.qcow2");
    const handle = await open(path, "w");
    const image = new NewQcow2(handle, geometry, content.length);
    const share = random.int(4);
    for (let index = 0; index < content.length / 512; index += 1) {
      const part = content.subarray(index * 512, (index + 1) * 512);
      const kind = random.int(4 + share);
      if (kind === 0) continue;
      randomBytes(random.int(500) + 1).copy(part);
      const stream = deflateRawSync(part, { windowBits: 12 });
      if (kind >= 2 && stream.length < 512) await image.addStream(index, stream);
      else await image.addPlain(index, part);
    }
    const fileSize = await image.finish();
    await handle.close();
    expect((await readFile(path)).length).toBe(fileSize);
    await assertClean(path);
    expect(Buffer.compare(await rawBytes(path), content), `seed ${seed}`).toBe(0);
  }
});

test("the command writes a qcow2 image, and says what does not go", async () => {
  const lab = await Lab.open();
  const done = await lab.qcowal("export", "-O", "qcow2", "a.qcow2@one", "one.qcow2", "--json");
  const facts = { format: "qcow2", out: lab.path("one.qcow2"), size: MIB };
  expect(JSON.parse(done.stdout)).toMatchObject(facts);
  await assertClean(lab.path("one.qcow2"));
  await lab.qcowal("export", "a.qcow2@one", "one.raw");
  expect(Buffer.compare(await rawBytes(lab.path("one.qcow2")), await lab.bytes("one.raw"))).toBe(0);
  const plain = ["export", "--format", "qcow2", "--compress", "none", "a.qcow2@one", "plain.qcow2"] as const;
  expect((await lab.qcowal(...plain)).stderr).toContain("a disk of 1048576 bytes, 65536 of them data");
  expect(await sameContent(lab.path("one.qcow2"), lab.path("plain.qcow2"))).toBe(true);
  for (const args of [
    ["--format", "qcow2", "a.qcow2", "-"],
    ["--compress", "zlib", "a.qcow2", "x"],
    ["--format", "vmdk", "a.qcow2", "x"],
  ]) {
    expect(await lab.qcowal("export", ...args)).toMatchObject({ code: 2, stdout: "" });
  }
});
