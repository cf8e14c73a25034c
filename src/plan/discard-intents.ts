import type { DiscardIntent } from "../intent/index.ts";

/** Runs of one intent: as many as still fit a journal record. */
const MAX_DISCARD_RUNS = 16_384;

/** The freed clusters (ascending) as runs of bytes. Behind the end of the file, at `fileSize`, is nothing to give back. */
export function discardIntents(
  freed: readonly number[],
  clusterSize: number,
  fileSize: number,
): DiscardIntent[] {
  const runs: [number, number][] = [];
  for (const cluster of freed) {
    const offset = cluster * clusterSize;
    if (offset >= fileSize) break;
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === offset) last[1] += clusterSize;
    else runs.push([offset, clusterSize]);
  }
  const intents: DiscardIntent[] = [];
  for (let at = 0; at < runs.length; at += MAX_DISCARD_RUNS) {
    intents.push({ kind: "discard", runs: runs.slice(at, at + MAX_DISCARD_RUNS) });
  }
  return intents;
}
