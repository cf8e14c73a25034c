import { type Image, readTables } from "../image/index.ts";
import { type CopiedIntents, copiedInL1, copiedInL2 } from "./copied-intents.ts";
import type { CountedTables } from "./count-tables.ts";
import type { Drafts } from "./draft.ts";
import type { L1Tables } from "./l1-tables.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

/**
 * COPIED flags of everything the active layer reaches afterwards.
 *
 * A table that it reached before keeps its flags where no refcount below it
 * changes, and is then not read. QEMU's copy on write keeps a table's place in
 * the L1 table, so what a table shares with others it shares with those of the
 * same place: a table where no other of its place comes or goes is left out.
 *
 * The format does not say so, and a file may share clusters across places. A
 * flag that has to clear is found all the same: it was set where the refcount
 * was 1, so no other table led to the cluster. A flag that has to be set is one
 * of a cluster whose refcount falls to 1; if not all of these were met in the
 * tables that were read, the others are read too.
 */
export async function copiedIntents(
  image: Image,
  { before, after }: Drafts,
  tables: L1Tables,
  changes: RefcountChanges,
  counted: CountedTables,
  { onTable }: { readonly onTable?: (() => void) | undefined },
): Promise<CopiedIntents> {
  const result: CopiedIntents = { clear: [...counted.copied.clear], set: [...counted.copied.set] };
  const l1 = await tables.read(after.active.contents);
  if (after.active.stored) copiedInL1(changes, l1, result);
  const reachedBefore = new Set((await tables.read(before.active.contents)).targets);
  const places = touchedPlaces(counted, l1.entries);

  const touched = new Set<number>();
  const others = new Set<number>();
  for (const [place, target] of l1.targets.entries()) {
    if (target === 0 || counted.decided.has(target)) continue;
    const isTouched = places[place] === 1 || counted.weights.has(target) || !reachedBefore.has(target);
    (isTouched ? touched : others).add(target);
  }
  const compare = async (targets: ReadonlySet<number>): Promise<number> => {
    let met = 0;
    const offsets = [...targets].toSorted((a, b) => a - b);
    for await (const { offset, words } of readTables(
      image.disk,
      offsets,
      image.header.geometry.clusterSize,
    )) {
      onTable?.();
      met += copiedInL2(changes, offset, words, result);
    }
    return met;
  };
  const met = await compare(touched);
  if (others.size > 0 && met < newlyExclusive(changes, counted)) {
    for (const target of touched) others.delete(target);
    await compare(others);
  }
  return result;
}

/** Places in the L1 table where some table is used more or less often than before: 1, else 0. */
function touchedPlaces({ roots, weights }: CountedTables, entries: number): Uint8Array {
  const places = new Uint8Array(entries);
  for (const { table } of roots) {
    for (let place = 0; place < Math.min(entries, table.entries); place += 1) {
      if (weights.has(table.targets[place] ?? 0)) places[place] = 1;
    }
  }
  return places;
}

/** Clusters of guest data whose refcount falls to 1. */
function newlyExclusive(changes: RefcountChanges, { weights }: CountedTables): number {
  const { clusterSize } = changes.stored.geometry;
  let count = changes.newlyExclusive();
  for (const offset of weights.keys()) if (changes.isNewlyExclusive(offset / clusterSize)) count -= 1;
  return count;
}
