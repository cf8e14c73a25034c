import { invariant } from "../errors/index.ts";
import type { BlockChange } from "./block-change.ts";

/** Where the changes of clusters are. */
export interface BlocksOfWindow {
  /** By refcount block; those of the clusters count by entry. */
  readonly blocks: readonly (BlockChange | undefined)[];
  /** The number of the first block, and the bits of a cluster's number below that of its block. */
  readonly first: number;
  readonly entryBits: number;
}

/**
 * Adds `weight` to each of these clusters. Returns the first whose stored refcount is 0, which ends it;
 * -1 without any. On a disk in no order they lie far from each other: a loop that does nothing else
 * waits for the memory of several of them at a time.
 */
export function addSingles(
  clusters: Uint32Array,
  { blocks, first, entryBits }: BlocksOfWindow,
  weight: number,
): number {
  const mask = 2 ** entryBits - 1;
  for (let at = 0; at < clusters.length; at += 1) {
    const cluster = clusters[at] ?? 0;
    const entry = cluster & mask;
    const changes = blocks[(cluster >>> entryBits) - first];
    const entries = changes?.entries;
    invariant(changes !== undefined && entries !== undefined, "a block that counts by entry is gone");
    if (!changes.isFull && changes.stored[entry] === 0) return cluster;
    changes.touch(entry, entry + 1);
    const sum = (entries[entry] ?? 0) + weight;
    entries[entry] = sum;
    if (entries[entry] !== sum) changes.widen(entry, sum);
  }
  return -1;
}
