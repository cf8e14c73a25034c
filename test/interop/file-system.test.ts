/** An image that holds a real file system, whose files must read back the same from each snapshot. */
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openPool } from "../../src/index.ts";
import { must, run } from "../support/programs.ts";
import { createImage, judge, requireQemu, tempDir } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";

beforeAll(async () => {
  await requireQemu();
  for (const program of ["mkfs.ext4", "debugfs"]) {
    if ((await run(program, ["-V"])).code !== 0)
      throw new Error(`${program} is needed: apt-get install e2fsprogs`);
  }
});

const SIZE = 64 * 1024 * 1024;

/** A tree of files of all sizes, made from a seed; returns path and digest of each. */
async function writeTree(folder: string, seed: number): Promise<Map<string, string>> {
  const random = seededRandom(seed);
  const digests = new Map<string, string>();
  for (let index = 0; index < 40; index += 1) {
    const name = `dir${index % 5}/file ${seed}-${index}`;
    const bytes = Buffer.from(Uint8Array.from({ length: random.int(150_000) }, () => random.int(256)));
    await mkdir(join(folder, `dir${index % 5}`), { recursive: true });
    await writeFile(join(folder, name), bytes);
    digests.set(name, createHash("sha256").update(bytes).digest("hex"));
  }
  return digests;
}

/** A guest that rewrites the whole file system: only the blocks that differ reach the image. */
async function install(image: string, raw: string, folder: string): Promise<void> {
  await rm(raw, { force: true });
  await must("mkfs.ext4", [
    "-q",
    "-F",
    "-d",
    folder,
    "-E",
    "hash_seed=11111111-2222-3333-4444-555555555555",
    raw,
    "64M",
  ]);
  expect((await stat(raw)).size).toBe(SIZE);
  await must("qemu-img", ["convert", "-n", "-f", "raw", "-O", "qcow2", raw, image]);
}

/** Reads every file back through the file system, and lets its own checker look at it. */
async function expectTree(raw: string, digests: ReadonlyMap<string, string>, out: string): Promise<void> {
  expect((await run("e2fsck", ["-f", "-n", raw])).code, "e2fsck").toBe(0);
  for (const [name, digest] of digests) {
    const target = join(out, "file");
    await must("debugfs", ["-R", `dump "/${name}" ${target}`, raw]);
    expect(
      createHash("sha256")
        .update(await readFile(target))
        .digest("hex"),
      name,
    ).toBe(digest);
  }
}

describe("an image with an ext4 file system", () => {
  test("gives back each file from each snapshot, after reverts and deletions too", async () => {
    const dir = await tempDir();
    const image = join(dir, "disk.qcow2");
    const raw = join(dir, "raw");
    await createImage(image, { size: SIZE, options: { cluster_size: 4096 } });
    const trees: Map<string, string>[] = [];
    await using pool = await openPool(join(dir, ".qcowal"));
    for (const seed of [1, 2, 3]) {
      const folder = join(dir, `tree${seed}`);
      trees.push(await writeTree(folder, seed));
      await install(image, raw, folder);
      await pool.create(image, `tree ${seed}`);
    }
    const snapshotIs = async (id: number, tree: number): Promise<void> => {
      await must("qemu-img", ["convert", "-O", "raw", "-l", `snapshot.id=${id}`, image, raw]);
      await expectTree(raw, trees[tree] ?? new Map(), dir);
    };
    const activeIs = async (tree: number): Promise<void> => {
      await must("qemu-img", ["convert", "-O", "raw", image, raw]);
      await expectTree(raw, trees[tree] ?? new Map(), dir);
    };
    for (const index of [0, 1, 2]) await snapshotIs(index + 1, index);
    await pool.revert(image, "tree 1");
    await judge(image);
    await activeIs(0);
    await snapshotIs(3, 2);
    await pool.delete(image, "tree 2");
    await judge(image);
    await pool.revert(image, "tree 3");
    await activeIs(2);
    await snapshotIs(1, 0);
    await judge(image);
  });
});
