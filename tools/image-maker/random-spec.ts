import type { Random } from "./random.ts";
import type { ChangeSpec, ClusterKind, ImageSpec, RootSpec, SnapshotSpec } from "./spec.ts";

export interface RandomSpecOptions {
  /** A backing file that exists where the image will lie; it is used now and then. */
  readonly backing?: { readonly name: string; readonly format: string };
  /** Largest cluster size, log2. Default 16. */
  readonly maxClusterBits?: number;
  readonly maxSnapshots?: number;
}

interface Shape {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly refcountOrder: number;
  readonly extendedL2: boolean;
  readonly compression: "zlib" | "zstd";
  /** Aliases and shared compressed clusters count several times per root. */
  readonly wideRefcounts: boolean;
}

/** A valid description over all dimensions that QEMU can open; small enough for an image of at most some MB. */
export function randomSpec(random: Random, options: RandomSpecOptions = {}): ImageSpec {
  const bits = [9, 9, 10, 10, 11, 12, 12, 13, 14, 14, 15, 16, 21].filter(
    (value) => value <= (options.maxClusterBits ?? 16),
  );
  const version = random.chance(0.25) ? 2 : 3;
  const clusterBits = random.pick(bits);
  const refcountOrder = version === 2 ? 4 : random.pick([0, 1, 2, 3, 4, 4, 5, 6]);
  const headerLength = random.pick([104, 112, 120, 136]);
  const shape: Shape = {
    version,
    clusterBits,
    refcountOrder,
    extendedL2: version === 3 && clusterBits >= 14 && random.chance(0.4),
    compression: version === 3 && headerLength >= 112 && random.chance(0.3) ? "zstd" : "zlib",
    wideRefcounts: refcountOrder >= 3,
  };
  const clusterSize = 2 ** clusterBits;
  const room = clusterBits <= 10 && refcountOrder >= 4 && random.chance(0.25);
  const guestClusters = room ? 1400 : 4 + random.int(clusterBits > 16 ? 6 : clusterBits === 16 ? 30 : 300);
  const virtualSize = guestClusters * clusterSize - 512 * random.int(Math.min(4, clusterSize / 512));
  const snapshotLimit = Math.min([0, 2, 4][refcountOrder] ?? 5, options.maxSnapshots ?? 5);
  const snapshots: SnapshotSpec[] = [];
  const count = random.int(snapshotLimit + 1);
  while (snapshots.length < count) {
    snapshots.push(randomSnapshot(random, shape, virtualSize, snapshots));
  }
  const backing = random.chance(0.3) ? options.backing : undefined;
  return {
    version,
    clusterBits,
    virtualSize,
    refcountOrder,
    extendedL2: shape.extendedL2,
    compression: shape.compression,
    ...(version === 3 && { headerLength }),
    ...(version === 3 && random.chance(0.2) && { compatibleFeatures: 1n << 40n }),
    featureNames: clusterSize > 512 && random.chance(0.5),
    extensions: Array.from({ length: random.int(3) }, (_, i) => ({
      type: 0x77665500 + random.int(2),
      data: new Uint8Array(random.int(20)).fill(0x30 + i),
    })),
    ...(backing !== undefined && { backing }),
    ...(version === 3 &&
      random.chance(0.2) && {
        bitmap: { name: "every-night", granularityBits: 9 + random.int(8), seed: random.int(1000) },
      }),
    snapshots,
    active: randomRoot(random, shape, virtualSize, snapshots.length),
    snapshotCopiedFlags: random.pick(["qemu", "clear", "set", "random"] as const),
    placement: {
      order: random.pick(["sequential", "reversed", "random"] as const),
      seed: random.int(1_000_000),
      holes: random.chance(0.5) ? 0.2 : 0,
      separateCompressed: !shape.wideRefcounts,
      endMidCluster: random.chance(0.3),
    },
    ...(room && { room: { freeInLastRefcountBlock: random.int(3) } }),
  };
}

function randomRoot(random: Random, shape: Shape, diskSize: number, snapshots: number): RootSpec {
  const guestClusters = Math.ceil(diskSize / 2 ** shape.clusterBits);
  return {
    ...(random.chance(0.3) && { from: snapshots === 0 || random.chance(0.3) ? null : random.int(snapshots) }),
    changes: randomChanges(random, shape, guestClusters),
    keepVmState: random.chance(0.2),
  };
}

function randomChanges(random: Random, shape: Shape, guestClusters: number): ChangeSpec[] {
  const kinds: ClusterKind[] = ["data", "data", "data", "compressed", "compressed", "none"];
  if (shape.version === 3) kinds.push("zero", "zero-allocated");
  if (shape.extendedL2) kinds.push("subclusters", "subclusters");
  const changes: ChangeSpec[] = [];
  const host: number[] = [];
  for (
    let left = random.int(shape.clusterBits > 16 ? 3 : shape.clusterBits === 16 ? 6 : 12);
    left > 0;
    left--
  ) {
    const at = random.int(guestClusters);
    const kind = random.pick(kinds);
    const count = 1 + random.int(Math.min(shape.clusterBits >= 16 ? 2 : 9, guestClusters - at));
    const masks = subclusterMasks(random);
    const span = random.pick([undefined, 2, 3] as const);
    const spanFits = span !== undefined && (span === 2 || shape.clusterBits > 9);
    changes.push({
      at,
      count,
      kind,
      seed: 1 + random.int(2 ** 30),
      ...(kind === "compressed" && spanFits && { span }),
      ...(kind === "subclusters" && masks),
    });
    if (kind === "data") host.push(at);
    else if (host.some((h) => h >= at && h < at + count)) host.length = 0;
  }
  const of = host.at(-1);
  if (shape.wideRefcounts && of !== undefined && random.chance(0.3)) {
    changes.push({ at: random.int(guestClusters), kind: "alias", of });
  }
  return changes;
}

/** No subcluster may be both allocated and zero. */
function subclusterMasks(random: Random): { allocatedMask: number; zeroMask: number } {
  const allocatedMask = random.int(2 ** 32);
  return { allocatedMask, zeroMask: (random.int(2 ** 32) & ~allocatedMask) >>> 0 };
}

function randomSnapshot(
  random: Random,
  shape: Shape,
  virtualSize: number,
  before: readonly SnapshotSpec[],
): SnapshotSpec {
  const extraSize = random.pick(shape.version === 3 ? [16, 24, 24, 24, 40, 61] : [0, 8, 16, 24, 24, 37]);
  const clusterSize = 2 ** shape.clusterBits;
  const resized = shape.version === 3 && extraSize >= 16 && random.chance(0.25);
  const diskSize = resized ? clusterSize * (1 + random.int((virtualSize / clusterSize) * 2)) : virtualSize;
  const vmState = random.chance(0.25)
    ? [{ at: random.int(2), count: 1 + random.int(3), kind: "data" as const, seed: random.int(2 ** 30) }]
    : [];
  return {
    ...randomRoot(random, shape, diskSize, before.length),
    vmState,
    name: random.pick(["", "monday", "täglich", "x".repeat(200), "before upgrade"]),
    id: random.chance(0.2) ? `id-${before.length}` : String(before.length + 1),
    diskSize,
    dateSec: random.int(2 ** 32),
    dateNsec: random.int(1_000_000_000),
    vmClockNsec: BigInt(random.int(2 ** 40)),
    ...(extraSize >= 24 && random.chance(0.5) && { icount: BigInt(random.int(2 ** 40)) }),
    extraSize,
  };
}
