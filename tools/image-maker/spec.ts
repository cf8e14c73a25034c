/**
 * What a guest cluster is to be.
 * - `data`: a host cluster with bytes made from the seed
 * - `zero`: the plain zero flag, no host cluster (v3)
 * - `zero-allocated`: the zero flag over a host cluster that holds other bytes (v3)
 * - `compressed`: a compressed stream; several share a host cluster
 * - `alias`: the same host cluster as guest cluster `of` of this root
 * - `none`: unallocated again
 * - `subclusters`: extended L2 only, with the two masks
 */
export type ClusterKind =
  "data" | "zero" | "zero-allocated" | "compressed" | "alias" | "none" | "subclusters";

export interface ChangeSpec {
  /** Guest cluster number; in `vmState`, counted from the start of the VM state area. */
  readonly at: number;
  /** So many clusters from `at` on, each with the next seed. Default 1. */
  readonly count?: number;
  readonly kind: ClusterKind;
  readonly seed?: number;
  /** Host clusters that a compressed stream has to touch; 3 needs clusters of at least 1 KiB. Default: as it falls. */
  readonly span?: 2 | 3;
  /** `alias`: the guest cluster whose data is used. */
  readonly of?: number;
  /** `subclusters`: which of the 32 are allocated, and which read as zeros (bit 0 is the first). */
  readonly allocatedMask?: number;
  readonly zeroMask?: number;
}

/** A mapping: that of another root plus changes. L2 tables without a change are shared, the others copied, as QEMU does. */
export interface RootSpec {
  /** Position of the snapshot whose mapping this root starts from; null for an empty one. Default: the snapshot before it. */
  readonly from?: number | null;
  readonly changes?: readonly ChangeSpec[];
  /** Clusters above the end of the disk. */
  readonly vmState?: readonly ChangeSpec[];
  /** Keeps the parent's VM state mapped, as a snapshot made by qemu-img does. Default false. */
  readonly keepVmState?: boolean;
  /** Entries of the L1 table. Default: exactly what is needed. */
  readonly l1Size?: number;
}

export interface SnapshotSpec extends RootSpec {
  readonly name: string;
  /** Default: the position in the table plus one. */
  readonly id?: string;
  readonly diskSize?: number;
  /** Default: as far as `vmState` reaches. */
  readonly vmStateSize?: number;
  readonly dateSec?: number;
  readonly dateNsec?: number;
  readonly vmClockNsec?: bigint;
  /** Needs 24 bytes of extra data. Default: all ones, "none". */
  readonly icount?: bigint;
  /** Bytes of extra data; above 24 they are filled with unknown bytes. Default 24. */
  readonly extraSize?: number;
}

export interface HeaderExtensionSpec {
  readonly type: number;
  readonly data: Uint8Array;
}

export interface BitmapSpec {
  readonly name: string;
  readonly granularityBits: number;
  /** Default: flag "auto" (2). */
  readonly flags?: number;
  readonly seed?: number;
}

export interface ImageSpec {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly virtualSize: number;
  /** log2 of the refcount width. Default 4; version 2 allows nothing else. */
  readonly refcountOrder?: number;
  readonly extendedL2?: boolean;
  readonly compression?: "zlib" | "zstd";
  /** 104, 112 or more; above 112 unknown bytes follow. Default 112, and 72 in version 2. */
  readonly headerLength?: number;
  readonly compatibleFeatures?: bigint;
  readonly autoclearFeatures?: bigint;
  readonly featureNames?: boolean;
  readonly extensions?: readonly HeaderExtensionSpec[];
  readonly backing?: { readonly name: string; readonly format?: string };
  readonly bitmap?: BitmapSpec;
  /** In table order. */
  readonly snapshots?: readonly SnapshotSpec[];
  readonly active?: RootSpec;
  /** COPIED flags where they mean nothing: in the L1 tables of snapshots and in L2 tables that only snapshots use. Default "qemu". */
  readonly snapshotCopiedFlags?: "qemu" | "clear" | "set" | "random";
  readonly placement?: {
    readonly order?: "sequential" | "reversed" | "random";
    readonly seed?: number;
    /** Chance that free clusters follow a structure. */
    readonly holes?: number;
    /** Every compressed stream in host clusters of its own, for narrow refcounts. */
    readonly separateCompressed?: boolean;
    /** The file stops in the middle of its last cluster. */
    readonly endMidCluster?: boolean;
  };
  /** Fills unused guest clusters of the active layer until the refcount structures have exactly this much room. */
  readonly room?: {
    readonly freeInLastRefcountBlock: number;
    readonly refcountTableFull?: boolean;
  };
}
