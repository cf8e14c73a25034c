import { type Image, type KeptTables, SortedOffsets, TablePass } from "../image/index.ts";
import { type CopiedSink, copiedInL2 } from "./copied-intents.ts";
import type { CountedTables } from "./counted-tables.ts";
import type { Drafts } from "./draft.ts";
import type { L1Tables } from "./l1-tables.ts";
import type { RefcountChanges } from "./refcount-changes.ts";

/**
 * COPIED flags in the L2 tables that the active layer reaches afterwards.
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
export class CopiedFlags {
  readonly #counted: CountedTables;
  readonly #touched: TablePass;
  readonly #others: TablePass;

  private constructor(counted: CountedTables, touched: TablePass, others: TablePass) {
    this.#counted = counted;
    this.#touched = touched;
    this.#others = others;
  }

  static async of(
    image: Image,
    { before, after }: Drafts,
    tables: L1Tables,
    counted: CountedTables,
    kept: KeptTables,
    onTable?: () => void,
  ): Promise<CopiedFlags> {
    const { targets } = await tables.read(after.active.contents);
    const reachedBefore = SortedOffsets.of((await tables.read(before.active.contents)).targets);
    const places = touchedPlaces(counted, targets.length);
    const touched = SortedOffsets.of(
      targets.filter(
        (target, place) =>
          target !== 0 &&
          !counted.decided.has(target) &&
          (places[place] === 1 || counted.weights.has(target) || !reachedBefore.has(target)),
      ),
    );
    const others = SortedOffsets.of(targets).without(counted.decided).without(touched);
    // Those of them that are counted too are read once.
    kept.want(touched);
    return new CopiedFlags(
      counted,
      new TablePass(image, touched, onTable, kept),
      new TablePass(image, others, onTable),
    );
  }

  /** Compares the flags of entries that lead into the window, when everything in it is counted. */
  async compare(changes: RefcountChanges, result: CopiedSink): Promise<void> {
    const met = await compareTables(this.#touched, changes, result);
    if (met < newlyExclusive(changes, this.#counted)) await compareTables(this.#others, changes, result);
  }
}

async function compareTables(pass: TablePass, changes: RefcountChanges, result: CopiedSink): Promise<number> {
  let met = 0;
  for await (const { offset, words } of pass.tables(changes.stored)) {
    met += copiedInL2(changes, offset, words, result);
  }
  return met;
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
  for (const offset of weights.tables.offsets) {
    const cluster = offset / clusterSize;
    if (changes.covers(cluster) && changes.isNewlyExclusive(cluster)) count -= 1;
  }
  return count;
}
