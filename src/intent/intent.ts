import type { BytePatch } from "../format/index.ts";

/**
 * The closed alphabet of mutations. Each intent is absolute ("make it so"),
 * plain data, and carries enough to tell whether the disk shows the state
 * before it, after it, a mixture that a torn write left, or something foreign.
 */
export type Intent =
  FillIntent | RefcountIntent | CopiedIntent | PointerIntent | HeaderIntent | DiscardIntent | ZeroIntent;

/**
 * Contents of freshly reserved clusters, to which nothing refers before the
 * commit. They are synced before it too, so long contents are logged by digest.
 */
export interface FillIntent {
  readonly kind: "fill";
  readonly offset: number;
  readonly length: number;
  /** SHA-256 of the contents. */
  readonly digest: Uint8Array;
  /** Absent when read from a journal that holds only the digest. */
  readonly bytes: Uint8Array | undefined;
}

/** Entries of one refcount block: runs of [first entry, count, from, to]. */
export interface RefcountIntent {
  readonly kind: "refcount";
  readonly block: number;
  /** log2 of the width in bits. */
  readonly order: number;
  readonly runs: readonly RefcountRun[];
}
export type RefcountRun = readonly [first: number, count: number, from: number, to: number];

/** COPIED flags in one cluster of an L1 or L2 table: runs of [first entry, count] all set or all cleared. */
export interface CopiedIntent {
  readonly kind: "copied";
  /** Host offset of the (part of the) table, at most one cluster. */
  readonly table: number;
  readonly length: number;
  readonly entrySize: 8 | 16;
  readonly set: boolean;
  readonly runs: readonly EntryRun[];
  /** CRC-32 of the table with every COPIED flag cleared: anything else that changes is foreign. */
  readonly checksum: number;
}
export type EntryRun = readonly [first: number, count: number];

/** One slot of the refcount table. */
export interface PointerIntent {
  readonly kind: "pointer";
  readonly slot: number;
  readonly from: number;
  readonly to: number;
}

/** Bytes of the first cluster. Patches inside the first sector change in one write. */
export interface HeaderIntent {
  readonly kind: "header";
  readonly patches: readonly BytePatch[];
}

/** Entries of one L2 table that give up a cluster and go on to read as zeros. */
export interface ZeroIntent {
  readonly kind: "zero";
  /** Host offset of the table, which has entries of 8 bytes. */
  readonly table: number;
  readonly entries: readonly ZeroedEntry[];
}
/** The two halves of the entry are those before. Ascending, and no other intent covers the entry. */
export type ZeroedEntry = readonly [entry: number, high: number, low: number];

/** Freed runs of [host offset, length], given back to the file system while the fence stands. */
export interface DiscardIntent {
  readonly kind: "discard";
  readonly runs: readonly (readonly [offset: number, length: number])[];
}

/** Intents between two syncs, in the order in which the phases are applied. */
export const PHASES = ["reserve", "raise", "switch", "lower", "discard"] as const;
export type Phase = (typeof PHASES)[number];
export type PhasedIntents = Readonly<Record<Phase, IntentList>>;

/** Intents that can be gone through any number of times, whatever holds them: an array, or packed bytes. */
export interface IntentList extends Iterable<Intent> {
  readonly length: number;
}
