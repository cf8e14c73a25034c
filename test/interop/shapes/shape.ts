import { join } from "node:path";
import type { Random } from "../../support/random.ts";
import { createImage, io } from "../../support/qemu.ts";
import type { CreateOptions, Image } from "../../support/qemu.ts";

export interface ShapeFeatures {
  /** Snapshots that the refcount width allows in all, those that the shape has included. Default: no limit to speak of. */
  readonly maxSnapshots?: number;
  /** qemu-img refuses to revert: the image has a persistent bitmap. */
  readonly noRevert?: boolean;
  /** Opened with the passphrase SECRET. */
  readonly encrypted?: boolean;
  /** Unallocated clusters show a backing file that lies beside the image. */
  readonly backing?: boolean;
}

export interface Shape extends ShapeFeatures {
  readonly name: string;
  /** Builds the image in an empty directory and returns its path. */
  readonly build: (dir: string, random: Random) => Promise<string>;
}

export const KIB = 1024;
export const MIB = 1024 * KIB;

/** A disk of some hundred clusters, or of a few where clusters are large. */
export function diskSizeFor(clusterSize: number): number {
  return Math.min(8 * MIB, Math.max(MIB, clusterSize * 1024));
}

export async function create(dir: string, options: CreateOptions): Promise<string> {
  const path = join(dir, "image.qcow2");
  await createImage(path, options);
  return path;
}

const byte = (random: Random): string => `0x${(1 + random.int(255)).toString(16)}`;

/** Writes scattered over the disk; some cross cluster borders, most are not aligned to clusters. */
export function scatteredWrites(
  random: Random,
  diskSize: number,
  clusterSize: number,
  count: number,
): string[] {
  return Array.from({ length: count }, () => {
    const length = 512 * (1 + random.int(Math.min(64, Math.max(2, (3 * clusterSize) / 512))));
    const offset = 512 * random.int(Math.floor((diskSize - length) / 512) + 1);
    return `write -P ${byte(random)} ${offset} ${length}`;
  });
}

/** One write to each of the clusters, in the given order. */
export function clusterWrites(
  random: Random,
  clusters: readonly number[],
  clusterSize: number,
  flags = "",
): string[] {
  return clusters.map(
    (cluster) => `write ${flags} -P ${byte(random)} ${cluster * clusterSize} ${clusterSize}`,
  );
}

export function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

/** `qemu-io` in portions that fit a command line. */
export async function ioAll(image: Image, commands: readonly string[]): Promise<void> {
  for (let at = 0; at < commands.length; at += 500) await io(image, ...commands.slice(at, at + 500));
}
