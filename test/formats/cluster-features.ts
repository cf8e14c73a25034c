/** What the clusters hold, and how the file lies on its disk. */
import { rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { openPool } from "../../src/index.ts";
import { type ChangeSpec, writeImage } from "../../tools/image-maker/index.ts";
import { clusterWrites, create, ioAll, KIB, MIB, range, scatteredWrites } from "../interop/shapes/shape.ts";
import { judge, rawDigest, snapshotCreate, snapshotList, tempDir } from "../support/qemu.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { Vm, withMemory } from "../support/vm.ts";
import { type Feature, shape, type Variant } from "./feature.ts";

const CLUSTER = 64 * KIB;
/** Of 32 in a cluster. */
const SUBCLUSTER = CLUSTER / 32;

/** Commands that bring a cluster into each state that qemu-io can make; unallocated ones show the backing file. */
function subclusterStates(first: number): string[] {
  const at = (cluster: number, subcluster = 0): number =>
    (first + cluster) * CLUSTER + subcluster * SUBCLUSTER;
  return [
    `write -P 0x11 ${at(1)} ${CLUSTER}`, // all allocated; cluster 0 stays unallocated
    `write -z -u ${at(2)} ${CLUSTER}`, // all zero, no host cluster
    `write -P 0x12 ${at(3)} ${CLUSTER}`, // all zero over a host cluster
    `write -z ${at(3)} ${CLUSTER}`,
    `write -P 0x13 ${at(4, 5)} ${SUBCLUSTER}`, // one allocated, the others show the backing file
    `write -P 0x14 ${at(5, 0)} ${4 * SUBCLUSTER}`, // allocated, zero and unallocated in one
    `write -z ${at(5, 4)} ${4 * SUBCLUSTER}`,
    `write -z ${at(6, 8)} ${8 * SUBCLUSTER}`, // zero and unallocated, no host cluster
    `write -c -P 0x15 ${at(7)} ${CLUSTER}`, // compressed
    `write -P 0x16 ${at(8)} ${CLUSTER}`, // discarded again: reads as zeros
    `discard ${at(8)} ${CLUSTER}`,
    `write -P 0x17 ${at(9)} ${CLUSTER}`, // some discarded out of the middle
    `discard ${at(9, 8)} ${8 * SUBCLUSTER}`,
    `write -z ${at(10, 0)} ${SUBCLUSTER}`, // the first and the last
    `write -P 0x18 ${at(10, 31)} ${SUBCLUSTER}`,
  ];
}

const subclustersByQemu: Variant = {
  name: "every state that qemu-io makes, over a backing file",
  backing: true,
  build: async (dir, random) => {
    const base = join(dir, "base");
    await ioAll(await create(dir, { size: 3 * MIB }), ["write -P 0x99 0 3M"]);
    await rename(join(dir, "image.qcow2"), base);
    const path = await create(dir, {
      size: 3 * MIB,
      options: { extended_l2: "on", cluster_size: CLUSTER },
      backing: { file: "base", format: "qcow2" },
    });
    await ioAll(path, subclusterStates(0));
    await snapshotCreate(path, "first");
    // Over each state of the snapshot, and the states anew where there was nothing.
    await ioAll(
      path,
      range(0, 11).map((cluster) => `write -P 0x21 ${cluster * CLUSTER + 7 * SUBCLUSTER} ${3 * SUBCLUSTER}`),
    );
    await ioAll(path, subclusterStates(20));
    await ioAll(path, scatteredWrites(random, 3 * MIB, CLUSTER, 4));
    return path;
  },
};

/** Masks that qemu-io does not come to, with a host cluster below each. */
function subclusterMasks(random: Random, first: number): ChangeSpec[] {
  const all = 0xffff_ffff;
  const odd = 0xaaaa_aaaa;
  const masks: (readonly [allocated: number, zero: number])[] = [
    [0, 0],
    [0, all],
    [all, 0],
    [odd, (all ^ odd) >>> 0],
    [1, 0x8000_0000],
    [0x8000_0000, 0],
    [0, odd],
    ...range(0, 12).map(() => {
      const allocated = random.int(2 ** 32);
      return [allocated, (random.int(2 ** 32) & ~allocated) >>> 0] as const;
    }),
  ];
  return masks.map(([allocatedMask, zeroMask], index) => ({
    at: first + index,
    kind: "subclusters",
    seed: 1 + first + index,
    allocatedMask,
    zeroMask,
  }));
}

const subclustersMade: Variant = {
  name: "masks that qemu-io does not make",
  build: async (dir, random) => {
    const path = join(dir, "image.qcow2");
    await writeImage(path, {
      version: 3,
      clusterBits: 14,
      virtualSize: MIB,
      extendedL2: true,
      snapshots: [{ name: "first", changes: subclusterMasks(random, 0) }],
      active: { changes: [...subclusterMasks(random, 10), { at: 40, kind: "compressed", count: 2 }] },
    });
    return path;
  },
};

function preallocated(mode: "metadata" | "falloc" | "full"): Variant {
  return {
    name: `preallocation=${mode}`,
    build: async (dir, random) => {
      const path = await create(dir, { size: 2 * MIB, options: { preallocation: mode } });
      await ioAll(path, scatteredWrites(random, 2 * MIB, CLUSTER, 6));
      await snapshotCreate(path, "first");
      await ioAll(path, [...scatteredWrites(random, 2 * MIB, CLUSTER, 6), `write -z 0 ${3 * CLUSTER}`]);
      return path;
    },
  };
}

const MEMORY = 0x2000;

const savedByVm: Variant = {
  name: "savevm",
  build: async (dir) => {
    const path = await create(dir, { size: 8 * MIB });
    await ioAll(path, ["write -P 1 0 1M"]);
    await using vm = await Vm.start({ disks: [path], args: withMemory(MEMORY, 0xfacen) });
    await vm.monitor("savevm first");
    await vm.io(0, "write -q -P 2 512k 1M");
    return path;
  },
};

async function loadsAgain(): Promise<void> {
  const path = await savedByVm.build(await tempDir(), seededRandom(1));
  const [saved] = await snapshotList(path);
  expect(saved?.["vm-state-size"]).toBeGreaterThan(100_000);
  const content = await rawDigest(path, { snapshotId: "1" });
  await using pool = await openPool(`${path}.journal`);
  await pool.create(path, "ours");
  await pool.revert(path, "first");
  await pool.delete(path, "ours");
  await judge(path);
  expect(await rawDigest(path)).toBe(content);
  await using vm = await Vm.start({ disks: [path], args: ["-loadvm", "first"] });
  expect(await vm.memory(MEMORY)).toBe(0xfacen);
}

/** The last thing that qemu-io wrote is a compressed stream, and the file ends with its sector. */
const compressedTail: Variant = {
  name: "behind a compressed stream",
  build: async (dir, random) => {
    const path = await create(dir, { size: 2 * MIB });
    await ioAll(path, scatteredWrites(random, MIB, CLUSTER, 4));
    await snapshotCreate(path, "first");
    await ioAll(path, clusterWrites(random, [20, 25], CLUSTER, "-c"));
    expect((await stat(path)).size % CLUSTER).toBeGreaterThan(0);
    return path;
  },
};

const tableTail: Variant = {
  ...shape("file that ends in mid-cluster"),
  build: async (dir, random) => {
    const path = await shape("file that ends in mid-cluster").build(dir, random);
    expect((await stat(path)).size % CLUSTER).toBeGreaterThan(0);
    return path;
  },
};

const SPARSE = 32 * MIB;

const sparse: Variant = {
  name: "32 MiB with little in it",
  build: async (dir, random) => {
    const path = await create(dir, { size: SPARSE, options: { preallocation: "metadata" } });
    await ioAll(path, scatteredWrites(random, SPARSE, CLUSTER, 8));
    await snapshotCreate(path, "first");
    await ioAll(path, scatteredWrites(random, SPARSE, CLUSTER, 8));
    return path;
  },
  after: async (path) => {
    const { size, blocks } = await stat(path);
    expect(size).toBeGreaterThan(SPARSE);
    expect(blocks * 512).toBeLessThan(4 * MIB);
  },
};

export const clusterFeatures: readonly Feature[] = [
  {
    name: "clusters of 512 bytes to 2 MiB",
    note: "",
    variants: [
      shape("1.1 cluster 512 refcount 16"),
      {
        name: "2 MiB",
        build: async (dir, random) => {
          const path = await create(dir, { size: 8 * MIB, options: { cluster_size: 2 * MIB } });
          await ioAll(path, clusterWrites(random, [1, 3], 2 * MIB));
          await snapshotCreate(path, "first");
          await ioAll(path, ["write -P 7 3M 4k"]);
          return path;
        },
      },
    ],
  },
  {
    name: "refcounts of 1 to 64 bits",
    note: "a snapshot too many is refused before anything is written, the last that fits can be reverted to",
    variants: [
      { ...shape("1.1 cluster 4K refcount 2"), qemuCannotRevert: true },
      shape("1.1 cluster 4K refcount 8"),
      shape("1.1 cluster 4K refcount 64"),
    ],
    more: async () => {
      const path = await shape("1.1 cluster 4K refcount 1").build(await tempDir(), seededRandom(1));
      await using pool = await openPool(`${path}.journal`);
      await expect(pool.create(path, "ours")).rejects.toMatchObject({ code: "REFCOUNT_OVERFLOW" });
      await judge(path);
      expect(await pool.list(path)).toEqual([]);
    },
  },
  {
    name: "zlib compression",
    note: "several streams in a cluster, streams over three clusters",
    variants: [shape("compressed zlib 4K"), shape("compressed by single writes")],
  },
  {
    name: "zstd compression",
    note: "",
    variants: [shape("compressed zstd 4K"), shape("compressed zstd by single writes")],
  },
  {
    name: "extended L2 entries",
    note: "every state of subclusters, mixed in one cluster; compressed clusters among them",
    variants: [subclustersByQemu, subclustersMade, shape("extended L2 64K")],
  },
  {
    name: "preallocation",
    note: "metadata, falloc, full",
    variants: [preallocated("metadata"), preallocated("falloc"), preallocated("full")],
  },
  {
    name: "zero clusters",
    note: "plain, and over a cluster of their own",
    variants: [shape("zero clusters plain"), shape("zero clusters allocated")],
  },
  {
    name: "VM state of `savevm`",
    note: "kept, and listed with size, clock and icount; `loadvm` works after any of our operations",
    variants: [savedByVm],
    more: loadsAgain,
  },
  {
    name: "snapshots of other disk sizes",
    note: "the revert restores the size in the same transaction",
    variants: [shape("grown between snapshots"), shape("shrunk between snapshots")],
  },
  {
    name: "files that end in mid-cluster",
    note: "behind a table or a compressed stream",
    variants: [tableTail, compressedTail],
  },
  {
    name: "sparse files",
    note: "stay sparse; freed clusters are punched out",
    variants: [sparse],
  },
];
