import { readFile, stat } from "node:fs/promises";
import { inspectImage } from "../../support/naive-qcow2.ts";
import { io, snapshotCreate } from "../../support/qemu.ts";
import { clusterWrites, create, ioAll, KIB, MIB, range } from "./shape.ts";
import type { Shape } from "./shape.ts";

/** Fills the disk from the front until the file has so many clusters, or a few less. */
async function fillTo(path: string, clusterSize: number, wanted: number): Promise<void> {
  const clusters = async (): Promise<number> => Math.ceil((await stat(path)).size / clusterSize);
  for (let next = 0; ;) {
    const missing = wanted - (await clusters());
    if (missing <= 0) return;
    // Tables take some of the room, so the last stretch is done in small steps.
    const count = Math.max(1, Math.floor(missing * 0.9));
    await io(path, `write -P ${1 + (next % 255)} ${next * clusterSize} ${count * clusterSize}`);
    next += count;
  }
}

function nearlyFull(name: string, refcountBits: number, wanted: number): Shape {
  return {
    name,
    build: async (dir) => {
      const options = { cluster_size: 512, refcount_bits: refcountBits };
      const path = await create(dir, { size: 8 * MIB, options });
      await fillTo(path, 512, wanted);
      return path;
    },
  };
}

/** The next operation has to make a structure grow, or finds it scattered. */
export const growthShapes: readonly Shape[] = [
  nearlyFull("refcount block nearly full", 16, 254),
  nearlyFull("refcount block full", 16, 256),
  nearlyFull("several refcount blocks, the last nearly full", 64, 64 * 9 - 2),
  nearlyFull("refcount table nearly full", 64, 64 * 64 - 2),
  nearlyFull("refcount table full", 64, 64 * 64),
  {
    name: "L1 table of exactly one cluster",
    build: async (dir, random) => {
      const path = await create(dir, { size: 2 * MIB, options: { cluster_size: 512 } });
      await ioAll(
        path,
        clusterWrites(
          random,
          range(0, 64).map((i) => i * 64),
          512,
        ),
      );
      const { l1Size } = inspectImage(new Uint8Array(await readFile(path))).header;
      if (l1Size !== 64) throw new Error(`the L1 table has ${l1Size} entries`);
      return path;
    },
  },
  {
    name: "snapshot table over many clusters",
    build: async (dir, random) => {
      const path = await create(dir, { size: MIB, options: { cluster_size: 512 } });
      for (let i = 0; i < 12; i++) {
        await ioAll(path, clusterWrites(random, [random.int(2000)], 512));
        await snapshotCreate(path, `${i} ${"long name ".repeat(20)}`);
      }
      return path;
    },
  },
  {
    name: "many snapshots",
    build: async (dir, random) => {
      const path = await create(dir, { size: MIB, options: { cluster_size: KIB } });
      await ioAll(path, clusterWrites(random, range(0, 20), KIB));
      for (let i = 0; i < 30; i++) await snapshotCreate(path, `hour ${i}`);
      return path;
    },
  },
  {
    name: "as many snapshots as 2 bits hold",
    maxSnapshots: 2,
    build: async (dir, random) => {
      const path = await create(dir, { size: MIB, options: { cluster_size: 4 * KIB, refcount_bits: 2 } });
      await ioAll(path, clusterWrites(random, range(0, 20), 4 * KIB));
      for (const name of ["one", "two"]) await snapshotCreate(path, name);
      return path;
    },
  },
  ...[512, 64 * KIB].map((clusterSize): Shape => ({
    name: `fragmented ${clusterSize}`,
    build: async (dir, random) => {
      const clusters = clusterSize === 512 ? 600 : 60;
      const path = await create(dir, {
        size: clusters * clusterSize,
        options: { cluster_size: clusterSize },
      });
      const order = random.shuffle(range(0, clusters));
      await ioAll(path, clusterWrites(random, order.slice(0, clusters / 2), clusterSize));
      await snapshotCreate(path, "scattered");
      await ioAll(path, clusterWrites(random, order.slice(clusters / 4, (clusters * 3) / 4), clusterSize));
      return path;
    },
  })),
];
