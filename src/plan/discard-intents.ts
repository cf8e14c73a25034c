import type { DiscardIntent } from "../intent/index.ts";
import type { ClusterRun } from "./refcount-changes.ts";

/** Runs of one intent: as many as still fit a journal record. */
const MAX_DISCARD_RUNS = 16_384;

/** The freed clusters (ascending) as runs of bytes. Behind the end of the file, at `fileSize`, is nothing to give back. */
export function discardIntents(
  freed: readonly ClusterRun[],
  clusterSize: number,
  fileSize: number,
): DiscardIntent[] {
  const runs: [number, number][] = [];
  const clusters = Math.ceil(fileSize / clusterSize);
  for (const [first, count] of freed) {
    const length = (Math.min(first + count, clusters) - first) * clusterSize;
    if (length <= 0) break;
    const last = runs.at(-1);
    const offset = first * clusterSize;
    if (last !== undefined && last[0] + last[1] === offset) last[1] += length;
    else runs.push([offset, length]);
  }
  const intents: DiscardIntent[] = [];
  for (let at = 0; at < runs.length; at += MAX_DISCARD_RUNS) {
    intents.push({ kind: "discard", runs: runs.slice(at, at + MAX_DISCARD_RUNS) });
  }
  return intents;
}

export const clustersOf = (runs: readonly ClusterRun[]): number =>
  runs.reduce((sum, [, count]) => sum + count, 0);
