/** What the header says: versions, feature bits, extensions, other files. */
import { readFile } from "node:fs/promises";
import { expect } from "vitest";
import { checkImage, listSnapshots, openPool } from "../../src/index.ts";
import { SECRET } from "../interop/shapes.ts";
import { create, ioAll, KIB, MIB, scatteredWrites } from "../interop/shapes/shape.ts";
import { inspectImage } from "../support/naive-qcow2.ts";
import { patchFile } from "../support/patch-file.ts";
import { must, run } from "../support/programs.ts";
import { createImage, info, io, judge, snapshotApply, snapshotCreate, tempDir } from "../support/qemu.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { type Feature, shape, type Variant } from "./feature.ts";
import { all } from "../support/all.ts";

const COMPATIBLE = 80;
const INCOMPATIBLE = 72;
const AUTOCLEAR = 88;

const headerOf = async (path: string) => inspectImage(new Uint8Array(await readFile(path))).header;

/** An image with a snapshot "first" and other content since. */
async function plain(dir: string, random: Random, options: Record<string, string | number> = {}) {
  const path = await create(dir, { size: 2 * MIB, options });
  await ioAll(path, scatteredWrites(random, 2 * MIB, 64 * KIB, 8));
  await snapshotCreate(path, "first");
  await ioAll(path, scatteredWrites(random, 2 * MIB, 64 * KIB, 8));
  return path;
}

function marked(name: string, field: number, number: number, after?: Variant["after"]): Variant {
  return {
    name,
    build: async (dir, random) => {
      const path = await plain(dir, random);
      const bytes = await readFile(path);
      const value = bytes.readBigUInt64BE(field) | (1n << BigInt(number));
      bytes.writeBigUInt64BE(value, field);
      await patchFile(path, field, bytes.subarray(field, field + 8));
      return path;
    },
    ...(after === undefined ? {} : { after }),
  };
}

const UNKNOWN = { type: 0x1badcafe, text: "somebody's extension" };

const withExtension: Variant = {
  name: "after those of qemu",
  build: async (dir, random) => {
    const path = await plain(dir, random);
    const { extensions, headerLength } = await headerOf(path);
    const last = extensions.at(-1);
    const end = last === undefined ? headerLength : last.offset + Math.ceil(last.length / 8) * 8;
    const bytes = Buffer.alloc(8 + 24);
    bytes.writeUInt32BE(UNKNOWN.type, 0);
    bytes.writeUInt32BE(UNKNOWN.text.length, 4);
    bytes.write(UNKNOWN.text, 8);
    await patchFile(path, end, bytes);
    return path;
  },
  after: async (path) => {
    const { extensions } = await headerOf(path);
    const hex = Buffer.from(UNKNOWN.text).toString("hex");
    expect(extensions.filter(({ type }) => type === UNKNOWN.type).map((found) => found.hex)).toEqual([hex]);
  },
};

function externalData(raw: boolean): Variant {
  return {
    name: raw ? "raw external data" : "external data",
    build: async (dir) => {
      const options = { data_file: `${dir}/data.raw`, ...(raw && { data_file_raw: "on" }) };
      const path = await create(dir, { size: 2 * MIB, options });
      await io(path, "write -P 1 0 1M");
      return path;
    },
  };
}

async function bitmapImage(dir: string, inUse: boolean): Promise<string> {
  const path = await create(dir, { size: 2 * MIB });
  await io(path, "write -P 1 0 512k");
  await snapshotCreate(path, "first");
  for (const name of ["nightly", "weekly"]) await must("qemu-img", ["bitmap", "--add", path, name]);
  // A process that dies leaves them marked as in use, which is what a crashed VM does.
  await (inUse
    ? run("qemu-io", ["-f", "qcow2", "-c", "write -P 2 0 512k", "-c", "abort", path])
    : io(path, "write -P 2 0 512k"));
  return path;
}

const bitmapsOf = async (path: string): Promise<unknown[]> =>
  ((await info(path))["format-specific"]?.data["bitmaps"] as unknown[] | undefined) ?? [];

/** The revert that is allowed to drop them, and a qemu that finds nothing of them. */
async function dropsBitmaps(inUse: boolean): Promise<void> {
  const path = await bitmapImage(await tempDir(), inUse);
  const found = (await bitmapsOf(path)) as { name: string; flags: string[] }[];
  expect(found.map(({ name }) => name)).toEqual(["nightly", "weekly"]);
  expect(found.every(({ flags }) => flags.includes("in-use"))).toBe(inUse);
  await expect(snapshotApply(path, "first")).rejects.toThrow(/bitmap/);
  const twin = `${path}.twin`;
  await must("cp", [path, twin]);
  for (const name of ["nightly", "weekly"]) await must("qemu-img", ["bitmap", "--remove", twin, name]);
  await snapshotApply(twin, "first");
  await using pool = await openPool(`${path}.journal`);
  const { images } = await pool.revert(path, "first", { dropBitmaps: true });
  expect(images[0]?.outcomes).toMatchObject([{ droppedBitmaps: ["nightly", "weekly"] }]);
  await judge(path);
  expect(await bitmapsOf(path)).toEqual([]);
  const { autoclear, extensions } = await headerOf(path);
  expect({ autoclear, extensions }).toEqual({ autoclear: 0n, extensions: (await headerOf(twin)).extensions });
  await must("qemu-img", ["compare", "-q", path, twin]);
  const [entry] = await all(pool.history(path));
  expect(entry).toMatchObject({
    operations: [{ type: "revert", dropBitmaps: true }],
    images: [{ outcomes: [{ droppedBitmaps: ["nightly", "weekly"] }] }],
  });
  // Anybody may add some again.
  await must("qemu-img", ["bitmap", "--add", path, "nightly"]);
  await judge(path);
}

const oldAes: Variant = {
  name: "old AES",
  encrypted: true,
  build: async (dir, random) => {
    const path = await create(dir, {
      size: MIB,
      args: ["--object", `secret,id=key,data=${SECRET}`],
      options: { "encrypt.format": "aes", "encrypt.key-secret": "key" },
    });
    const image = { path, secret: SECRET };
    await io(image, ...scatteredWrites(random, MIB, 64 * KIB, 6));
    await snapshotCreate(image, "first");
    await io(image, ...scatteredWrites(random, MIB, 64 * KIB, 4));
    return path;
  },
};

const dirtyImage: Variant = {
  name: "left by a process that died",
  build: async (dir, random) => {
    const path = await plain(dir, random, { lazy_refcounts: "on" });
    await run("qemu-io", ["-f", "qcow2", "-c", "write -P 7 1M 640k", "-c", "abort", path]);
    expect((await headerOf(path)).incompatible & 1n).toBe(1n);
    return path;
  },
};

export const headerFeatures: readonly Feature[] = [
  {
    name: "version 2 (compat 0.10)",
    note: "the fence is the high bit of the version, there being no feature bits",
    variants: [shape("0.10 cluster 64K refcount 16")],
  },
  {
    name: "version 3 (compat 1.1)",
    note: "upgraded images too",
    variants: [shape("1.1 cluster 64K refcount 16"), shape("upgraded from 0.10")],
  },
  {
    name: "backing files",
    note: "raw, qcow2, a chain of three; only the image itself is changed",
    variants: [
      shape("backing raw"),
      {
        name: "chain of three",
        backing: true,
        build: async (dir, random) => {
          await createImage(`${dir}/base`, { size: MIB });
          await ioAll(`${dir}/base`, scatteredWrites(random, MIB, 64 * KIB, 6));
          const middle = { size: MIB, backing: { file: "base", format: "qcow2" } };
          await createImage(`${dir}/middle`, middle);
          await ioAll(`${dir}/middle`, scatteredWrites(random, MIB, 64 * KIB, 6));
          const path = await create(dir, { size: 2 * MIB, backing: { file: "middle", format: "qcow2" } });
          await ioAll(path, scatteredWrites(random, 2 * MIB, 64 * KIB, 6));
          await snapshotCreate(path, "first");
          await ioAll(path, scatteredWrites(random, 2 * MIB, 64 * KIB, 6));
          return path;
        },
      },
    ],
  },
  {
    name: "encryption (LUKS, old AES)",
    note: "ciphertext is moved about like any data: no passphrase is needed",
    variants: [shape("encrypted with LUKS"), oldAes],
  },
  {
    name: "persistent bitmaps",
    revert: "refused",
    note: "as by QEMU, in use or not; `--drop-bitmaps` drops them with the revert and names them",
    variants: [
      { name: "two bitmaps", noRevert: true, build: (dir) => bitmapImage(dir, false) },
      { name: "bitmaps in use", noRevert: true, build: (dir) => bitmapImage(dir, true) },
    ],
    more: async () => {
      await dropsBitmaps(false);
      await dropsBitmaps(true);
    },
  },
  {
    name: "lazy refcounts, closed cleanly",
    note: "",
    variants: [shape("lazy refcounts")],
  },
  {
    name: "marked dirty or corrupt",
    createAndDelete: "after a repair",
    revert: "after a repair",
    note: "refcounts that nobody vouches for are not built upon",
    variants: [dirtyImage, marked("marked corrupt", INCOMPATIBLE, 1)],
  },
  {
    name: "unknown compatible feature bits",
    note: "kept",
    variants: [
      marked("compatible bit 40", COMPATIBLE, 40, async (path) => {
        expect((await headerOf(path)).compatible).toBe(1n << 40n);
      }),
    ],
  },
  {
    name: "unknown autoclear feature bits",
    note: "cleared by the first write, as the specification asks; reading leaves them",
    variants: [
      marked("autoclear bit 63", AUTOCLEAR, 63, async (path, wrote) => {
        expect((await headerOf(path)).autoclear).toBe(wrote ? 0n : 1n << 63n);
      }),
    ],
  },
  {
    name: "unknown header extensions",
    note: "kept",
    variants: [withExtension],
  },
  {
    name: "unknown incompatible feature bits",
    listAndCheck: "refused",
    createAndDelete: "refused",
    revert: "refused",
    repair: "refused",
    note: "as by QEMU",
    variants: [marked("incompatible bit 50", INCOMPATIBLE, 50)],
  },
  {
    name: "external data file",
    createAndDelete: "refused",
    revert: "refused",
    repair: "refused",
    note: "raw or not; QEMU takes no internal snapshots there either",
    variants: [externalData(false), externalData(true)],
    more: async () => {
      const path = await externalData(true).build(await tempDir(), seededRandom(1));
      expect(await listSnapshots(path)).toEqual([]);
      const { stdout } = await run("qemu-img", ["check", "--output=json", path]);
      const theirs = JSON.parse(stdout) as Record<string, number>;
      const ours = await checkImage(path);
      expect(ours).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
      expect(ours.allocatedClusters).toBe(theirs["allocated-clusters"]);
    },
  },
];
