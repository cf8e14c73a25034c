import { invariant } from "../errors/index.ts";
import type { BlocksOfWindow } from "./add-singles.ts";
import type { OnWrongFlags, RefusesCluster } from "./compare-run.ts";

/** Entries of one L2 table that each lead to another place, in order. */
export class SingleEntries {
  readonly clusters: Uint32Array;
  readonly entries: Uint32Array;
  /** Whether the COPIED flag is set: 1, else 0. */
  readonly flags: Uint8Array;
  count = 0;

  constructor(most: number) {
    this.clusters = new Uint32Array(most);
    this.entries = new Uint32Array(most);
    this.flags = new Uint8Array(most);
  }

  push(cluster: number, entry: number, isSet: boolean): void {
    this.clusters[this.count] = cluster;
    this.entries[this.count] = entry;
    this.flags[this.count] = isSet ? 1 : 0;
    this.count += 1;
  }
}

/**
 * `compareRun` for entries whose clusters lie far from each other, in blocks that count by entry:
 * a loop that does nothing else waits for the memory of several of them at a time. They are taken
 * out of `singles`.
 */
export function compareSingles(
  singles: SingleEntries,
  { blocks, first, entryBits }: BlocksOfWindow,
  onWrong: OnWrongFlags,
  refuses: RefusesCluster,
): number {
  const { clusters, entries: places, flags, count } = singles;
  const mask = 2 ** entryBits - 1;
  let newlyExclusive = 0;
  for (let at = 0; at < count; at += 1) {
    const cluster = clusters[at] ?? 0;
    const changes = blocks[(cluster >>> entryBits) - first];
    const entries = changes?.entries;
    invariant(changes !== undefined && entries !== undefined, "a block that counts by entry is gone");
    const was = changes.stored[cluster & mask] ?? 0;
    const is = was + (entries[cluster & mask] ?? 0);
    if (is === 0 || was === 0) refuses(cluster, is !== 0);
    if (is === 1 && was > 1) newlyExclusive += 1;
    if ((is === 1 ? 1 : 0) !== flags[at]) onWrong(places[at] ?? 0, 1, is === 1);
  }
  singles.count = 0;
  return newlyExclusive;
}
