import { snapshotCreate } from "../../support/qemu.ts";
import { create, diskSizeFor, ioAll, KIB, MIB, scatteredWrites } from "./shape.ts";
import type { Shape } from "./shape.ts";

const CLUSTER_SIZES = [512, KIB, 4 * KIB, 64 * KIB, 2 * MIB] as const;
const REFCOUNT_BITS = [1, 2, 4, 8, 16, 32, 64] as const;

/** Each path from a root counts, and the active layer is a root. */
const snapshotLimit = (refcountBits: number): number => 2 ** Math.min(refcountBits, 16) - 2;

const sizeName = (bytes: number): string =>
  bytes >= MIB ? `${bytes / MIB}M` : bytes >= KIB ? `${bytes / KIB}K` : `${bytes}`;

function basicShape(compat: "0.10" | "1.1", clusterSize: number, refcountBits: number): Shape {
  const maxSnapshots = snapshotLimit(refcountBits);
  return {
    name: `${compat} cluster ${sizeName(clusterSize)} refcount ${refcountBits}`,
    ...(maxSnapshots < 1000 && { maxSnapshots }),
    build: async (dir, random) => {
      const size = diskSizeFor(clusterSize);
      const bits = compat === "1.1" ? { refcount_bits: refcountBits } : {};
      const path = await create(dir, { size, options: { compat, cluster_size: clusterSize, ...bits } });
      await ioAll(path, scatteredWrites(random, size, clusterSize, 20));
      for (let i = 0; i < Math.min(2, maxSnapshots - 1); i++) {
        await snapshotCreate(path, `snapshot ${i}`);
        await ioAll(path, scatteredWrites(random, size, clusterSize, 8));
      }
      return path;
    },
  };
}

/** Cluster size times refcount width, in both versions. */
export const basicShapes: readonly Shape[] = [
  ...CLUSTER_SIZES.flatMap((clusterSize) =>
    REFCOUNT_BITS.map((bits) => basicShape("1.1", clusterSize, bits)),
  ),
  ...CLUSTER_SIZES.map((clusterSize) => basicShape("0.10", clusterSize, 16)),
];
