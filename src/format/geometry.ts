/** Sizes that follow from a header; every other piece of code takes them from here. */
export interface Geometry {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterSize: number;
  readonly extendedL2: boolean;
  /** Bytes of one L2 entry: 8, or 16 with extended L2 entries. */
  readonly l2EntrySize: 8 | 16;
  /** Entries of one L2 table. */
  readonly l2Entries: number;
  /** Entries of one cluster of an L1 table. */
  readonly l1EntriesPerCluster: number;
  /** log2 of the refcount width in bits: 0..6. */
  readonly refcountOrder: number;
  /** Entries of one refcount block. */
  readonly refcountEntries: number;
  /** Largest refcount that can be stored and counted exactly; 64-bit widths are capped at 2^53 - 1. */
  readonly refcountMax: number;
}

export function geometryOf(shape: {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly refcountOrder: number;
  readonly extendedL2: boolean;
}): Geometry {
  const clusterSize = 2 ** shape.clusterBits;
  const refcountBits = 2 ** shape.refcountOrder;
  const l2EntrySize = shape.extendedL2 ? 16 : 8;
  return {
    version: shape.version,
    clusterBits: shape.clusterBits,
    clusterSize,
    extendedL2: shape.extendedL2,
    l2EntrySize,
    l2Entries: clusterSize / l2EntrySize,
    l1EntriesPerCluster: clusterSize / 8,
    refcountOrder: shape.refcountOrder,
    refcountEntries: (clusterSize * 8) / refcountBits,
    refcountMax: refcountBits >= 53 ? Number.MAX_SAFE_INTEGER : 2 ** refcountBits - 1,
  };
}

/** L1 entries that a disk of `virtualSize` bytes needs. */
export function l1EntriesFor(geometry: Geometry, virtualSize: number): number {
  return Math.ceil(virtualSize / (geometry.clusterSize * geometry.l2Entries));
}

/** Clusters that `bytes` occupy. */
export function clustersFor(geometry: Geometry, bytes: number): number {
  return Math.ceil(bytes / geometry.clusterSize);
}
