import { compressedLength, compressedOffset, entryOffset, isCompressed } from "../../format/index.ts";
import { readTables } from "../read-table.ts";
import type { PassedOver } from "./check-in-passes.ts";
import { claimStructures } from "./claim-structures.ts";
import type { CheckContext } from "./context.ts";
import { type Finding, Findings } from "./findings.ts";
import { l1Pieces } from "./l1-segments.ts";
import { l2OffsetsIn } from "./l1-walk.ts";
import { lowerBound } from "./lower-bound.ts";
import type { StoredRefcounts } from "./stored-refcounts.ts";

/** Names more than these say no more. */
const MAX_OWNERS = 32;
/** L2 tables that are kept for one cluster. In a sound image each is that of another root. */
const MAX_TABLES = 128;

/**
 * Says of each finding that was kept whose it is. Only an image that has findings
 * is read a second time, so that the first pass need not remember who refers to what.
 */
export async function withOwners(
  context: CheckContext,
  stored: StoredRefcounts,
  passed: Pick<PassedOver, "groups" | "reach">,
): Promise<readonly Finding[]> {
  const { kept } = context.findings;
  const clusters = new Map<number, Set<string>>();
  const tables = new Map<number, Set<string>>();
  for (const { owner, l2Table, cluster } of kept) {
    if (owner !== undefined) continue;
    if (l2Table !== undefined) tables.set(l2Table, new Set());
    else if (cluster !== undefined) clusters.set(cluster, new Set());
  }
  if (clusters.size > 0) await findStructures(context, stored, clusters);
  if (clusters.size > 0 || tables.size > 0) await findRoots(context, clusters, tables, passed);
  return kept.map(({ owner, l2Table, ...finding }) => {
    const owners =
      owner === undefined
        ? l2Table === undefined
          ? clusters.get(finding.cluster ?? -1)
          : tables.get(l2Table)
        : [owner];
    return { ...finding, owners: [...(owners ?? [])].slice(0, MAX_OWNERS) };
  });
}

type Wanted = Map<number, Set<string>>;

async function findStructures(context: CheckContext, stored: StoredRefcounts, wanted: Wanted): Promise<void> {
  const { clusterSize } = context.head.header.geometry;
  // What is wrong with a structure was said in the first pass.
  const silent = { ...context, findings: new Findings() };
  const ordered = [...wanted.keys()].toSorted((a, b) => a - b);
  await claimStructures(silent, (offset, length, what, _weight, owners = [what]) => {
    const last = Math.floor((offset + length - 1) / clusterSize);
    for (let at = lowerBound(ordered, Math.floor(offset / clusterSize)); at < ordered.length; at += 1) {
      const cluster = ordered[at] ?? 0;
      if (cluster > last) break;
      for (const owner of owners) name(wanted.get(cluster), owner);
    }
  });
  for (const [index, offset] of stored.offsets.entries()) {
    if (offset !== 0) name(wanted.get(Math.floor(offset / clusterSize)), `refcount block ${index}`);
  }
}

function name(owners: Set<string> | undefined, owner: string): void {
  if (owners !== undefined && owners.size < MAX_OWNERS) owners.add(owner);
}

async function findRoots(
  context: CheckContext,
  clusters: Wanted,
  tables: Wanted,
  passed: Pick<PassedOver, "groups" | "reach">,
): Promise<void> {
  const { clusterSize } = context.head.header.geometry;
  const below = clusters.size > 0 ? await findTables(context, clusters, passed) : new Map<number, number[]>();
  for await (const { segment, words } of l1Pieces(context, context.roots)) {
    for (const offset of new Set(l2OffsetsIn(words))) {
      const table = tables.get(offset);
      const cluster = clusters.get(Math.floor(offset / clusterSize));
      const found = below.get(offset);
      if (table === undefined && cluster === undefined && found === undefined) continue;
      for (const { name: root } of segment.roots) {
        name(table, root);
        name(cluster, `an L2 table of ${root}`);
        for (const under of found ?? []) name(clusters.get(under), root);
      }
    }
  }
}

/** Wanted clusters by the L2 table that refers to them; of each cluster the first tables that do. */
async function findTables(
  context: CheckContext,
  clusters: Wanted,
  { groups, reach }: Pick<PassedOver, "groups" | "reach">,
): Promise<Map<number, number[]>> {
  const { disk, head, checkpoint } = context;
  const { refcountEntries } = head.header.geometry;
  let [first, end] = [Infinity, 0];
  for (const cluster of clusters.keys()) {
    first = Math.min(first, Math.floor(cluster / refcountEntries));
    end = Math.max(end, Math.floor(cluster / refcountEntries) + 1);
  }
  let before = 0;
  const below = new Map<number, number[]>();
  const left = new Map<number, number>();
  for (const cluster of clusters.keys()) left.set(cluster, MAX_TABLES);
  for await (const { offsets } of groups.each()) {
    const some = offsets.filter(
      (offset, index) => offset < head.fileSize && reach.meets(before + index, first, end),
    );
    before += offsets.length;
    for await (const { offset, words } of readTables(disk, some, head.header.geometry)) {
      checkpoint();
      const found = wantedBelow(context, words, left);
      if (found.size === 0) continue;
      below.set(offset, [...found]);
      for (const cluster of found) {
        const more = (left.get(cluster) ?? 0) - 1;
        if (more > 0) left.set(cluster, more);
        else left.delete(cluster);
      }
    }
  }
  return below;
}

function wantedBelow(
  { head }: CheckContext,
  words: Uint32Array,
  wanted: ReadonlyMap<number, unknown>,
): Set<number> {
  const { geometry, externalDataFile } = head.header;
  const found = new Set<number>();
  if (externalDataFile) return found;
  for (let at = 0; at < words.length; at += geometry.l2EntrySize / 4) {
    const high = words[at] ?? 0;
    const low = words[at + 1] ?? 0;
    if (high === 0 && low === 0) continue;
    const isStream = isCompressed(high);
    const offset = isStream ? compressedOffset(geometry, high, low) : entryOffset(high, low);
    if (offset === 0) continue;
    const length = isStream ? compressedLength(geometry, high, low) : geometry.clusterSize;
    const last = Math.floor((offset + length - 1) / geometry.clusterSize);
    for (let cluster = Math.floor(offset / geometry.clusterSize); cluster <= last; cluster += 1) {
      if (wanted.has(cluster)) found.add(cluster);
    }
  }
  return found;
}
