import { mkdir, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openFileDisk } from "../../src/disk/index.ts";
import { applyToNewFile } from "../../src/engine/index.ts";
import { WorkingDirectory } from "../../src/export/index.ts";
import { readImage } from "../../src/image/index.ts";
import { planImage } from "../../src/plan/index.ts";
import { copyFileInto } from "../../src/pool/copy-file.ts";
import { type CloneReport, type Operation, cloneImage, listSnapshots } from "../../src/index.ts";
import { type ImageSpec, makeImage, randomSpec, seededRandom } from "../../tools/image-maker/index.ts";
import { inspectImage, readRoot } from "../support/naive-qcow2.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { must, run } from "../support/programs.ts";
import { judge, requireQemu, tempDir } from "../support/qemu.ts";

beforeAll(requireQemu);
beforeAll(requireBuiltCommand);

const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 3 << 20,
  snapshots: [
    { name: "one", changes: [{ at: 0, count: 200, kind: "data", seed: 1 }] },
    { name: "two", changes: [{ at: 100, count: 300, kind: "data", seed: 2 }] },
    { name: "three", changes: [{ at: 50, count: 80, kind: "compressed", seed: 3 }] },
  ],
  active: { changes: [{ at: 7, count: 50, kind: "data", seed: 4 }] },
};

async function lab(spec: ImageSpec = SPEC): Promise<{ dir: string; path: string; bytes: Buffer }> {
  const dir = await tempDir();
  const path = join(dir, "a.qcow2");
  const bytes = Buffer.from(makeImage(spec));
  await writeFile(path, bytes);
  return { dir, path, bytes };
}

/** The same, with every cluster given back that the plan frees, whether it was copied or not. */
async function cloneWithDiscards(path: string, target: string, kept: string): Promise<void> {
  const source = await openFileDisk(path, "read");
  const image = await readImage(source);
  const others = image.snapshotTable.snapshots.filter(({ id }) => id !== kept);
  const operations: Operation[] = [
    { type: "revert", image: path, id: kept, dropBitmaps: true },
    ...others.map(({ id }): Operation => ({ type: "delete", image: path, id })),
  ];
  const plan = await planImage(image, operations, { now: 0 });
  const how = { checkpoint: () => undefined, onProgress: undefined };
  await copyFileInto(source, target, { without: plan.phases.discard, ...how });
  await source.close();
  const copy = await openFileDisk(target, "write");
  await applyToNewFile(copy, plan);
  await copy.sync();
  await copy.close();
}

describe("a clone", () => {
  test("of a snapshot has its disk, and no other snapshot; the image stays as it was", async () => {
    const { dir, path, bytes } = await lab();
    for (const [index, name] of ["one", "two", "three"].entries()) {
      const clone = join(dir, `${name}.qcow2`);
      const report = await cloneImage(path, clone, { snapshot: index === 1 ? { id: "2" } : name });
      expect(report).toMatchObject({ image: path, clone, snapshot: { id: String(index + 1), name } });
      const made = await readFile(clone);
      expect(Buffer.compare(readRoot(made, "active"), readRoot(bytes, index))).toBe(0);
      expect(Buffer.compare(readRoot(made, 0), readRoot(bytes, index))).toBe(0);
      expect((await listSnapshots(clone)).map((snapshot) => snapshot.name)).toEqual([name]);
      await judge(clone);
    }
    expect((await readFile(path)).equals(bytes)).toBe(true);
    expect((await readdir(dir)).toSorted()).toEqual(["a.qcow2", "one.qcow2", "three.qcow2", "two.qcow2"]);
  });

  test("reads and takes no data that only other snapshots have, where blocks cannot be shared", async () => {
    const { dir, path, bytes } = await lab({
      ...SPEC,
      clusterBits: 16,
      virtualSize: 64 << 20,
      snapshots: [
        { name: "small", changes: [{ at: 0, count: 8, kind: "data", seed: 1 }] },
        { name: "large", changes: [{ at: 100, count: 600, kind: "data", seed: 2 }] },
      ],
      active: { changes: [{ at: 0, count: 4, kind: "data", seed: 3 }] },
    });
    const clone = join(dir, "b.qcow2");
    const trace = join(dir, "trace");
    const command = cli("clone", "--json", `${path}@small`, clone);
    const report = await must("strace", [
      "-f",
      "-y",
      "-e",
      "trace=pread64,fallocate",
      "-o",
      trace,
      ...command,
    ]);
    const calls = await readFile(trace, "utf8");
    const reads = calls.matchAll(/pread64\(\d+<[^>]*a\.qcow2>.* = (\d+)/g);
    const read = [...reads].reduce((sum, [, count]) => sum + Number(count), 0);
    expect(bytes.length).toBeGreaterThan(38 << 20);
    if (!(JSON.parse(report) as CloneReport).shared) {
      expect(read).toBeGreaterThan(8 << 16);
      // What was never copied is a hole: nothing is punched out.
      expect(calls).not.toMatch(/fallocate\(.*PUNCH_HOLE/);
    }
    expect(read).toBeLessThan(4 << 20);
    expect((await stat(clone)).blocks * 512).toBeLessThan(1 << 20);
    expect(Buffer.compare(readRoot(await readFile(clone), "active"), readRoot(bytes, 0))).toBe(0);
    await judge(clone);
  });

  test("drops bitmaps, which would be wrong, with the space that they had", async () => {
    const { dir, path } = await lab();
    await must("qemu-img", ["bitmap", "--add", path, "dirty"]);
    await cloneImage(path, join(dir, "b.qcow2"), { snapshot: "one" });
    const clone = join(dir, "b.qcow2");
    await judge(clone);
    expect(await must("qemu-img", ["info", clone])).not.toContain("dirty");
    // Without its autoclear bit QEMU passes the extension over: it has to be gone all the same.
    const extension = Buffer.from([0x23, 0x85, 0x28, 0x75]);
    expect((await readFile(path)).subarray(0, 4096).includes(extension)).toBe(true);
    expect((await readFile(clone)).subarray(0, 4096).includes(extension)).toBe(false);
    expect(await must("qemu-img", ["info", path])).toContain("dirty");
  });

  test("of the disk as it is has every snapshot", async () => {
    const { dir, path, bytes } = await lab();
    const clone = join(dir, "b.qcow2");
    expect(await cloneImage(path, clone)).toMatchObject({ snapshot: null });
    expect((await readFile(clone)).equals(bytes)).toBe(true);
  });

  test.each(Array.from({ length: 8 }, (_, seed) => seed))("of any image, seed %i", async (seed) => {
    const spec = randomSpec(seededRandom(600 + seed), { maxClusterBits: 14 });
    const { dir, path, bytes } = await lab(spec);
    const { snapshots } = inspectImage(bytes);
    const [first] = snapshots;
    const clone = join(dir, "b.qcow2");
    await cloneImage(path, clone, first === undefined ? {} : { snapshot: { id: first.id } });
    const made = await readFile(clone);
    const expected = readRoot(bytes, first === undefined ? "active" : 0);
    expect(Buffer.compare(readRoot(made, "active"), expected)).toBe(0);
    await judge(clone);
    if (first === undefined) return;
    const punched = join(dir, "punched.qcow2");
    await cloneWithDiscards(path, punched, first.id);
    expect(made.equals(await readFile(punched))).toBe(true);
    expect((await stat(clone)).blocks).toBeLessThanOrEqual((await stat(punched)).blocks);
  });

  test("replaces nothing, and is refused for what cannot be cloned", async () => {
    const { dir, path, bytes } = await lab();
    const clone = join(dir, "b.qcow2");
    await writeFile(clone, "mine");
    await expect(cloneImage(path, clone)).rejects.toMatchObject({ code: "IMAGE_EXISTS" });
    expect(await readFile(clone, "utf8")).toBe("mine");
    const other = join(dir, "c.qcow2");
    await expect(cloneImage(path, other, { snapshot: "none" })).rejects.toMatchObject({
      code: "SNAPSHOT_NOT_FOUND",
    });
    const writer = await openFileDisk(path, "write");
    await expect(cloneImage(path, other)).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await writer.close();
    bytes[72] = 0x40;
    await writeFile(path, bytes);
    await expect(cloneImage(path, other)).rejects.toMatchObject({ code: "NEEDS_RECOVERY" });
    expect((await readdir(dir)).toSorted()).toEqual(["a.qcow2", "b.qcow2"]);
  });

  test("with a relative backing file is made beside the image only", async () => {
    const { dir, path } = await lab({ ...SPEC, backing: { name: "base.raw", format: "raw" } });
    await mkdir(join(dir, "elsewhere"));
    await expect(cloneImage(path, join(dir, "elsewhere", "b.qcow2"))).rejects.toMatchObject({
      code: "IMAGE_UNSUPPORTED",
    });
    await cloneImage(path, join(dir, "b.qcow2"), { snapshot: "two" });
    expect(await readdir(join(dir, "elsewhere"))).toEqual([]);
  });

  test("that is killed has no name, and can be made again", async () => {
    const { dir, path, bytes } = await lab();
    const script =
      `import { cloneImage } from "./src/index.ts";` +
      `await cloneImage(process.argv[1], process.argv[2], { snapshot: "two", onProgress: () => process.kill(process.pid, "SIGKILL") });`;
    const clone = join(dir, "b.qcow2");
    const args = ["--import", "tsx", "--input-type=module", "-e", script, path, clone];
    const root = resolve(import.meta.dirname, "../..");
    expect(await run(process.execPath, args, { cwd: root })).toMatchObject({ signal: "SIGKILL" });
    expect((await readdir(dir)).filter((name) => !name.startsWith("."))).toEqual(["a.qcow2"]);
    // A directory of another name, and one in which somebody is at work, are no business of it.
    const working = await WorkingDirectory.create(clone, "clone");
    await mkdir(join(dir, ".c.qcow2.qcowal-clone-123456"));
    await cloneImage(path, clone, { snapshot: "two" });
    expect(Buffer.compare(readRoot(await readFile(clone), "active"), readRoot(bytes, 1))).toBe(0);
    const left = [".c.qcow2.qcowal-clone-123456", basename(working.path)];
    expect((await readdir(dir)).toSorted()).toEqual([...left, "a.qcow2", "b.qcow2"].toSorted());
    await working[Symbol.asyncDispose]();
    expect(await readdir(dir)).not.toContain(left[1]);
  });

  test("made by several at a time is that of one of them, and nothing of the others is left", async () => {
    const { dir, path } = await lab();
    const clone = join(dir, "b.qcow2");
    const ends = await Promise.allSettled(
      Array.from({ length: 6 }, () => cloneImage(path, clone, { snapshot: "one" })),
    );
    expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const end of ends)
      if (end.status === "rejected") expect(end.reason).toMatchObject({ code: "IMAGE_EXISTS" });
    await judge(clone);
    expect((await readdir(dir)).toSorted()).toEqual(["a.qcow2", "b.qcow2"]);
  });

  test("that is called off leaves nothing", async () => {
    const { dir, path } = await lab();
    const controller = new AbortController();
    const called = cloneImage(path, join(dir, "b.qcow2"), {
      snapshot: "one",
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(called).rejects.toMatchObject({ code: "ABORTED" });
    expect(await readdir(dir)).toEqual(["a.qcow2"]);
  });
});
