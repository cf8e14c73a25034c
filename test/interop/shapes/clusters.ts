import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { must } from "../../support/programs.ts";
import { createEncrypted, createImage, io, snapshotCreate } from "../../support/qemu.ts";
import type { Random } from "../../support/random.ts";
import { clusterWrites, create, ioAll, KIB, MIB, range, scatteredWrites } from "./shape.ts";
import type { Shape } from "./shape.ts";

/** Passphrase of encrypted shapes. */
export const SECRET = "open-sesame";

/** Bytes that compress, mixed with some that do not. */
function mixedBytes(random: Random, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 512) {
    const noisy = random.chance(0.3);
    const value = random.int(256);
    for (let i = at; i < Math.min(size, at + 512); i++) bytes[i] = noisy ? random.int(256) : value;
  }
  return bytes;
}

function converted(name: string, clusterSize: number, options: Record<string, string>): Shape {
  return {
    name,
    build: async (dir, random) => {
      const raw = join(dir, "source.raw");
      const path = join(dir, "image.qcow2");
      const size = Math.min(2 * MIB, Math.max(256 * KIB, clusterSize * 64));
      await writeFile(raw, mixedBytes(random, size));
      const list = Object.entries({ ...options, cluster_size: clusterSize }).map(
        ([key, value]) => `${key}=${value}`,
      );
      await must("qemu-img", ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", list.join(","), raw, path]);
      await snapshotCreate(path, "compressed");
      await ioAll(path, scatteredWrites(random, size, clusterSize, 6));
      await snapshotCreate(path, "partly overwritten");
      return path;
    },
  };
}

function written(
  name: string,
  options: Record<string, string | number>,
  clusterSize: number,
  /** Called for the time before the snapshot (0) and after it (1): a compressed write replaces nothing. */
  commands: (random: Random, size: number, phase: 0 | 1) => readonly string[],
): Shape {
  return {
    name,
    build: async (dir, random) => {
      const size = 4 * MIB;
      const path = await create(dir, { size, options: { ...options, cluster_size: clusterSize } });
      await ioAll(path, commands(random, size, 0));
      await snapshotCreate(path, "first");
      await ioAll(path, commands(random, size, 1));
      return path;
    },
  };
}

const zeroes = (flags: string, clusterSize: number): string[] =>
  [1, 3, 4, 5, 11].map((cluster) => `write ${flags} ${cluster * clusterSize} ${clusterSize}`);

function backed(name: string, format: "qcow2" | "raw", options: Record<string, string | number>): Shape {
  return {
    name,
    backing: true,
    build: async (dir, random) => {
      // Shorter than the disk, so that its end shows through as zeros.
      const base = join(dir, `base.${format}`);
      if (format === "raw") await writeFile(base, mixedBytes(random, MIB));
      else {
        await createImage(base, { size: MIB });
        await ioAll(base, scatteredWrites(random, MIB, 64 * KIB, 10));
      }
      const size = 2 * MIB;
      const path = await create(dir, { size, options, backing: { file: `base.${format}`, format } });
      await ioAll(path, scatteredWrites(random, size, 64 * KIB, 6));
      await snapshotCreate(path, "on the base");
      await ioAll(path, scatteredWrites(random, size, 64 * KIB, 6));
      return path;
    },
  };
}

/** Kinds of clusters, backing files, encryption, bitmaps. */
export const clusterShapes: readonly Shape[] = [
  converted("compressed zlib 512", 512, {}),
  converted("compressed zlib 4K", 4 * KIB, {}),
  converted("compressed zlib 64K", 64 * KIB, {}),
  converted("compressed zlib 0.10", 4 * KIB, { compat: "0.10" }),
  converted("compressed zstd 4K", 4 * KIB, { compression_type: "zstd" }),
  converted("compressed zstd 64K", 64 * KIB, { compression_type: "zstd" }),
  converted("compressed refcount 8", 4 * KIB, { refcount_bits: "8" }),
  written("compressed by single writes", {}, 4 * KIB, (random, _, phase) => [
    ...clusterWrites(random, range(100 * phase, 30), 4 * KIB, "-c"),
    ...clusterWrites(random, [3, 7, 40], 4 * KIB),
  ]),
  written("compressed zstd by single writes", { compression_type: "zstd" }, 64 * KIB, (random, _, phase) =>
    clusterWrites(random, range(20 * phase, 12), 64 * KIB, "-c"),
  ),
  written("zero clusters plain", {}, 4 * KIB, (random) => [
    ...clusterWrites(random, [0, 2], 4 * KIB),
    ...zeroes("-z -u", 4 * KIB),
  ]),
  written("zero clusters allocated", {}, 4 * KIB, (random) => [
    ...clusterWrites(random, range(0, 16), 4 * KIB),
    ...zeroes("-z", 4 * KIB),
  ]),
  written("zero clusters over preallocation", { preallocation: "metadata" }, 64 * KIB, (random) => [
    ...clusterWrites(random, [8, 9], 64 * KIB),
    ...zeroes("-z", 64 * KIB),
  ]),
  written("preallocated metadata 512", { preallocation: "metadata" }, 512, (random, size) =>
    scatteredWrites(random, size, 512, 10),
  ),
  written("discarded clusters", {}, 4 * KIB, (random) => [
    ...clusterWrites(random, range(0, 24), 4 * KIB),
    ...[2, 5, 6, 7].map((cluster) => `discard ${cluster * 4 * KIB} ${4 * KIB}`),
  ]),
  written("discarded clusters 0.10", { compat: "0.10" }, 4 * KIB, (random) => [
    ...clusterWrites(random, range(0, 24), 4 * KIB),
    ...[2, 5, 6, 7].map((cluster) => `discard ${cluster * 4 * KIB} ${4 * KIB}`),
  ]),
  written("extended L2 16K", { extended_l2: "on" }, 16 * KIB, (random, size) => [
    ...scatteredWrites(random, size, 4 * KIB, 20),
    ...[0, 3, 17].map((i) => `write -z ${i * 40 * KIB} ${6 * KIB}`),
  ]),
  written("extended L2 64K", { extended_l2: "on" }, 64 * KIB, (random, _, phase) => [
    ...scatteredWrites(random, 3 * MIB, 4 * KIB, 20),
    ...[0, 3, 17].map((i) => `write -z -u ${i * 130 * KIB} ${70 * KIB}`),
    ...clusterWrites(random, range(50 + 5 * phase, 3), 64 * KIB, "-c"),
  ]),
  written("lazy refcounts", { lazy_refcounts: "on" }, 4 * KIB, (random, size) =>
    scatteredWrites(random, size, 4 * KIB, 15),
  ),
  backed("backing raw", "raw", {}),
  backed("backing qcow2", "qcow2", {}),
  backed("backing qcow2 0.10", "qcow2", { compat: "0.10" }),
  backed("backing raw extended L2", "raw", { extended_l2: "on", cluster_size: 32 * KIB }),
  {
    name: "persistent bitmap",
    noRevert: true,
    build: async (dir, random) => {
      const path = await create(dir, { size: 4 * MIB, options: { cluster_size: 4 * KIB } });
      await ioAll(path, scatteredWrites(random, 4 * MIB, 4 * KIB, 6));
      await must("qemu-img", ["bitmap", "--add", "-g", "4096", path, "nightly"]);
      await ioAll(path, scatteredWrites(random, 4 * MIB, 4 * KIB, 10));
      await snapshotCreate(path, "marked");
      await ioAll(path, scatteredWrites(random, 4 * MIB, 4 * KIB, 4));
      return path;
    },
  },
  {
    name: "encrypted with LUKS",
    encrypted: true,
    build: async (dir, random) => {
      const path = join(dir, "image.qcow2");
      await createEncrypted(path, MIB, SECRET);
      const image = { path, secret: SECRET };
      await io(image, ...scatteredWrites(random, MIB, 64 * KIB, 6));
      await snapshotCreate(image, "sealed");
      await io(image, ...scatteredWrites(random, MIB, 64 * KIB, 4));
      return path;
    },
  },
];
