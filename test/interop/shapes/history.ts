import { must } from "../../support/programs.ts";
import { snapshotApply, snapshotCreate, snapshotDelete } from "../../support/qemu.ts";
import type { Random } from "../../support/random.ts";
import { clusterWrites, create, ioAll, KIB, MIB, range, scatteredWrites } from "./shape.ts";
import type { Shape } from "./shape.ts";

const SIZE = 4 * MIB;
const CLUSTER = 4 * KIB;

const resize = (path: string, size: number, ...flags: readonly string[]): Promise<string> =>
  must("qemu-img", ["resize", "-q", "-f", "qcow2", ...flags, path, String(size)]);

/** A plain image with 4 KiB clusters and something to do with it. */
function history(
  name: string,
  live: (path: string, random: Random, write: (count?: number) => Promise<void>) => Promise<void>,
  options: Record<string, string | number> = {},
): Shape {
  return {
    name,
    build: async (dir, random) => {
      const path = await create(dir, { size: SIZE, options: { cluster_size: CLUSTER, ...options } });
      const write = (count = 8): Promise<void> => ioAll(path, scatteredWrites(random, MIB, CLUSTER, count));
      await write();
      await live(path, random, write);
      return path;
    },
  };
}

/** What people do to images over time: snapshots deleted, reverted, resized, with VM state. */
export const historyShapes: readonly Shape[] = [
  history("deleted snapshots leave gaps", async (path, _, write) => {
    for (const name of ["a", "b", "c", "d"]) {
      await snapshotCreate(path, name);
      await write(4);
    }
    await snapshotDelete(path, "b");
    await snapshotDelete(path, "c");
    await write(6);
    await snapshotCreate(path, "e");
  }),
  history("all snapshots deleted", async (path, _, write) => {
    await snapshotCreate(path, "a");
    await write();
    await snapshotDelete(path, "a");
    await write();
  }),
  history("reverted, with two branches", async (path, _, write) => {
    await snapshotCreate(path, "root");
    await write();
    await snapshotCreate(path, "left");
    await snapshotApply(path, "root");
    await write();
    await snapshotCreate(path, "right");
  }),
  history("just reverted", async (path, _, write) => {
    await snapshotCreate(path, "root");
    await write();
    await snapshotApply(path, "root");
  }),
  history("equal names and an empty one", async (path, _, write) => {
    for (const name of ["same", "same", ""]) {
      await snapshotCreate(path, name);
      await write(3);
    }
  }),
  history("snapshots without a change between them", async (path) => {
    for (const name of ["a", "b", "c"]) await snapshotCreate(path, name);
  }),
  history("VM state", async (path, random, write) => {
    await ioAll(path, clusterWrites(random, range(0, 5), CLUSTER, "-b"));
    await snapshotCreate(path, "running");
    await write();
    await ioAll(path, clusterWrites(random, [1, 3, 9], CLUSTER, "-b"));
  }),
  history(
    "VM state 512 with a longer L1 table",
    async (path, random, write) => {
      await ioAll(path, clusterWrites(random, range(0, 200), 512, "-b"));
      await snapshotCreate(path, "running");
      await write(3);
    },
    { cluster_size: 512 },
  ),
  history("grown between snapshots", async (path, random, write) => {
    await snapshotCreate(path, "small");
    await resize(path, 2 * SIZE);
    await write();
    await ioAll(path, scatteredWrites(random, 2 * SIZE, CLUSTER, 8));
    await snapshotCreate(path, "large");
    await write(3);
  }),
  history("shrunk between snapshots", async (path, random, write) => {
    await ioAll(path, scatteredWrites(random, SIZE, CLUSTER, 8));
    await snapshotCreate(path, "large");
    await resize(path, MIB, "--shrink");
    await write();
    await snapshotCreate(path, "small");
    await write(3);
  }),
  history("grown without a snapshot 0.10", (path) => resize(path, 2 * SIZE).then(() => undefined), {
    compat: "0.10",
  }),
  history(
    "upgraded from 0.10",
    async (path, _, write) => {
      await snapshotCreate(path, "old");
      await write();
      await must("qemu-img", ["amend", "-q", "-f", "qcow2", "-o", "compat=1.1", path]);
      await snapshotCreate(path, "new");
    },
    { compat: "0.10" },
  ),
  {
    name: "empty disk with snapshots",
    build: async (dir) => {
      const path = await create(dir, { size: MIB });
      for (const name of ["nothing", "still nothing"]) await snapshotCreate(path, name);
      return path;
    },
  },
  {
    name: "disk that ends in mid-cluster",
    build: async (dir, random) => {
      const size = MIB + 3 * 512;
      const path = await create(dir, { size });
      await ioAll(path, [`write -P 0x77 ${size - 1024} 1024`, ...scatteredWrites(random, size, 64 * KIB, 4)]);
      await snapshotCreate(path, "odd");
      await ioAll(path, scatteredWrites(random, size, 64 * KIB, 4));
      return path;
    },
  },
  {
    name: "file that ends in mid-cluster",
    build: async (dir, random) => {
      const path = await create(dir, { size: MIB });
      await ioAll(path, scatteredWrites(random, MIB, 64 * KIB, 4));
      await snapshotCreate(path, "its table comes last in the file");
      return path;
    },
  },
];
