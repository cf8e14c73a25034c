/** What about the header and the snapshot table is most often got wrong. Each test says the fact and shows it. */
import { readFile, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import type { ImageSpec } from "../../tools/image-maker/index.ts";
import { visible } from "../support/model.ts";
import { checkImage } from "../support/naive-qcow2.ts";
import { run } from "../support/programs.ts";
import {
  createImage,
  io,
  judge,
  qemuCheck,
  requireQemu,
  snapshotApply,
  snapshotCreate,
  snapshotDelete,
  snapshotList,
} from "../support/qemu.ts";
import { Seen, differing, killStates, openLab } from "./lab.ts";

beforeAll(requireQemu);

const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 2 ** 20,
  snapshots: [{ name: "one", changes: [{ at: 0, count: 4, kind: "data", seed: 1 }] }],
  active: { changes: [{ at: 0, count: 4, kind: "data", seed: 20 }] },
};

const AUTOCLEAR = 88;

test("an autoclear bit of one's own and 'qemu-img check -r' delete all snapshots: there is none at any moment of an operation", async () => {
  const { path, pool, bytes, twin } = await openLab(SPEC);
  const sound = await bytes();
  const marked = Buffer.from(sound);
  marked[AUTOCLEAR] = 0x80;
  await writeFile(path, marked);
  const theirs = await twin();
  expect((await run("qemu-img", ["check", "-q", "-r", "all", theirs])).code).toBe(0);
  expect(await snapshotList(theirs)).toEqual([]);
  // The bit of somebody else goes, as the specification asks of whoever writes; the snapshots stay.
  await pool.create(path, "two");
  expect(new Seen(await bytes()).header.autoclear).toBe(0n);
  expect(await snapshotList(path)).toHaveLength(2);
  await judge(path);

  for (const operation of [
    { type: "create", image: path, name: "two" },
    { type: "revert", image: path, name: "one" },
    { type: "delete", image: path, name: "one" },
    { type: "repair", image: path, harden: true },
  ] as const) {
    const states = await killStates(sound, operation);
    expect(states.some((state) => state.readBigUInt64BE(72) !== 0n)).toBe(true);
    for (const state of states) expect(new Seen(state).header.autoclear).toBe(0n);
  }
});

describe("the dirty bit is not a lock, an unknown incompatible bit is, and version 2 needs the version field:", () => {
  test.each([2, 3] as const)("version %d", async (version) => {
    const { path, bytes } = await openLab({ ...SPEC, version });
    const sound = await bytes();
    if (version === 3) {
      const dirty = Buffer.from(sound);
      dirty[79] = 1;
      await writeFile(path, dirty);
      await io(path, "write 0 4k");
      expect(new Seen(await bytes()).header.incompatible).toBe(0n);
    }
    const states = await killStates(sound, { type: "revert", image: path, name: "one" });
    const fenced = states.filter((state) => new Seen(state).header.fenced);
    const behind = fenced.at(-1) ?? Buffer.alloc(0);
    expect(behind.readUInt32BE(4) === version).toBe(version === 3);
    await writeFile(path, behind);
    for (const args of [
      ["info", "-U", path],
      ["snapshot", "-l", path],
      ["snapshot", "-c", "x", path],
      ["check", path],
      ["check", "-r", "all", path],
      ["check", "-U", path],
    ]) {
      const { code, stderr } = await run("qemu-img", args);
      expect([code, stderr], args.join(" ")).toEqual([1, expect.stringMatching(/unsupported/i)]);
    }
    expect((await run("qemu-io", ["-c", "write 0 4k", path])).code).not.toBe(0);
    expect(behind.equals(await bytes())).toBe(true);
  });
});

test("a table that is rewritten gives all entries 24 bytes of extra data, also in version 2, keeps unknown ones, and a field counts only if it lies fully inside", async () => {
  for (const version of [2, 3] as const) {
    const { path, pool, bytes, twin } = await openLab({
      ...SPEC,
      version,
      snapshots: [0, 8, 12, 16, 20, 24, 40].map((extraSize) => ({
        name: `extra ${extraSize}`,
        extraSize: version === 3 ? Math.max(16, extraSize) : extraSize,
        changes: [{ at: extraSize, kind: "data", seed: extraSize }],
      })),
    });
    const theirs = await twin();
    await pool.create(path, "new");
    await snapshotCreate(theirs, "new");
    const entries = async (file: string): Promise<unknown[]> =>
      new Seen(await readFile(file)).snapshots
        .slice(0, -1)
        // Where the tables lie is another matter.
        .map((entry) => ({ ...entry, l1Offset: 0 }));
    const ours = await entries(path);
    expect(ours).toEqual(await entries(theirs));
    expect(new Seen(await bytes()).snapshots.map(({ extraSize }) => extraSize)).toEqual([
      24, 24, 24, 24, 24, 24, 40, 24,
    ]);
    expect(ours[6]).toMatchObject({ unknownExtraHex: expect.stringMatching(/^[0-9a-f]{32}$/) });
    // 12 bytes hold the size of the VM state, and half of a disk size, which is none.
    expect(ours[2]).toMatchObject({ diskSize: 2 ** 20, icount: 0xffff_ffff_ffff_ffffn });
    await judge(path);
  }
});

test("names have at most 255 bytes and no NUL, duplicates and empty ones exist, -a matches id then name, -d the name only, and ids are the largest plus one, used again", async () => {
  const { path, pool, bytes, twin } = await openLab();
  await createImage(path, { size: "4M", options: { cluster_size: 4096 } });
  // Id 1 is called "2", id 2 "x", and two more are called the same, or nothing.
  for (const [index, name] of ["2", "x", "x", ""].entries()) {
    await io(path, `write -P ${index + 1} 0 64k`);
    if (index < 2) await pool.create(path, name);
    else await pool.run([{ type: "create", image: path, name, force: true }]);
  }
  await io(path, "write -P 99 0 64k");
  await judge(path);
  expect((await snapshotList(path)).map(({ id, name }) => `${id} ${name}`)).toEqual([
    "1 2",
    "2 x",
    "3 x",
    "4 ",
  ]);

  const theirs = await twin();
  await snapshotApply(theirs, "2");
  await pool.run([{ type: "revert", image: path, name: "2", lookup: "id-then-name" }]);
  expect(visible(await bytes())).toEqual(visible(await readFile(theirs)));
  expect(visible(await bytes()).content).toBe(visible(await bytes()).snapshots[1]?.content);

  for (const name of ["2", "x"]) {
    await snapshotDelete(theirs, name);
    await pool.run([{ type: "delete", image: path, name, lookup: "first" }]);
    expect(visible(await bytes())).toEqual(visible(await readFile(theirs)));
  }
  expect((await snapshotList(path)).map(({ id }) => id)).toEqual(["3", "4"]);
  // An id is no name: neither finds anything.
  expect((await run("qemu-img", ["snapshot", "-d", "4", theirs])).code).not.toBe(0);
  await expect(pool.delete(path, "4")).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
  await pool.delete(path, { id: "4" });
  await snapshotDelete(theirs, "");
  await pool.create(path, "again");
  await snapshotCreate(theirs, "again");
  expect((await snapshotList(path)).map(({ id }) => id)).toEqual(["3", "4"]);
  expect((await snapshotList(theirs)).map(({ id }) => id)).toEqual(["3", "4"]);

  for (const name of ["n".repeat(256), "é".repeat(128), "a\0b", ""]) {
    await expect(pool.create(path, name)).rejects.toMatchObject({ code: "SNAPSHOT_NAME_INVALID" });
  }
  await pool.create(path, "n".repeat(255));
  await snapshotDelete(path, "n".repeat(255));
  await judge(path);
});

test("snapshots_offset must be aligned even with 0 snapshots, may be garbage then, and is no reference", async () => {
  const { snapshots: _, ...without } = SPEC;
  const { path, pool, bytes } = await openLab(without);
  const sound = await bytes();
  const place = (offset: bigint): Buffer => {
    const changed = Buffer.from(sound);
    changed.writeBigUInt64BE(offset, 64);
    return changed;
  };
  const data = new Seen(sound).host(0);
  for (const offset of [BigInt(data), 1n << 40n]) {
    await writeFile(path, place(offset));
    await judge(path);
    await pool.create(path, "a");
    // A table that is taken for one that is replaced would free the cluster that it names.
    expect(new Seen(await bytes()).refcount(data)).toBe(2);
    await judge(path);
    await pool.delete(path, "a");
    expect(visible(await bytes())).toEqual(visible(sound));
    await judge(path);
  }
  await writeFile(path, place(BigInt(data + 512)));
  expect((await run("qemu-img", ["snapshot", "-l", path])).stderr).toContain("Snapshot table offset invalid");
  await expect(pool.create(path, "a")).rejects.toMatchObject({ code: "IMAGE_INVALID" });
});

test("files end in the middle of a cluster, missing bytes read as zero, and 'check' does not look behind the end", async () => {
  const { path, pool, bytes } = await openLab();
  await createImage(path, { size: "4M" });
  await io(path, "write -P 1 0 64k");
  await snapshotCreate(path, "table at the end");
  const start = await bytes();
  expect(start.length % 65_536).not.toBe(0);
  await pool.create(path, "a");
  await pool.revert(path, "table at the end");
  await judge(path);

  // The block counts a cluster that the file does not have: nothing is wrong, says qemu-img.
  const { clusterSize, refcountTableOffset } = new Seen(start).header;
  const behind = Buffer.from(start);
  const block = Number(behind.readBigUInt64BE(refcountTableOffset));
  behind.writeUInt16BE(1, block + 2 * (Math.ceil(start.length / clusterSize) + 3));
  await writeFile(path, behind);
  expect((await qemuCheck(path)).code).toBe(0);
  expect(checkImage(behind).beyondEnd).toHaveLength(1);
  const report = await pool.repair(path);
  expect(report.images[0]?.outcomes).toMatchObject([{ mended: { leakedClusters: 1 } }]);
  expect(checkImage(await bytes()).beyondEnd).toEqual([]);

  // Whatever is allocated lies in the file before it is decided upon: no state counts what is not there.
  for (const state of await killStates(start, { type: "create", image: path, name: "b" })) {
    expect(checkImage(state, { ignoreFence: true }).beyondEnd).toEqual([]);
  }
});

test("a rewritten cluster 0 loses unknown header bytes, unknown extensions and foreign names: bytes 60..71 are patched instead", async () => {
  const { path, pool, bytes, twin, dir } = await openLab({
    ...SPEC,
    headerLength: 120,
    featureNames: true,
    extensions: [
      { type: 0x7766_5500, data: Buffer.from("first of somebody else") },
      { type: 0x7766_5501, data: Buffer.from("second") },
    ],
    backing: { name: "base.raw", format: "raw" },
    autoclearFeatures: 1n << 63n,
  });
  await writeFile(`${dir}/base.raw`, Buffer.alloc(2 ** 20, 7));
  const start = await bytes();
  const theirs = await twin();
  await snapshotCreate(theirs, "new");
  await pool.create(path, "new");
  const { clusterSize } = new Seen(start).header;
  const head = (image: Buffer): Buffer => image.subarray(0, clusterSize);
  const isField = (at: number): boolean => (at >= 60 && at < 72) || (at >= AUTOCLEAR && at < AUTOCLEAR + 8);
  expect(differing(head(start), head(await bytes())).filter((at) => !isField(at))).toEqual([]);
  // Qemu writes the header anew, because of the bit that it does not know.
  expect(differing(head(start), head(await readFile(theirs))).filter((at) => !isField(at))).not.toEqual([]);
  for (const operation of [{ type: "revert" }, { type: "delete" }] as const) {
    await pool.run([{ ...operation, image: path, name: "one" }]);
    expect(differing(head(start), head(await bytes())).filter((at) => !isField(at) && at > 48)).toEqual([]);
  }
  await judge(path);
});
