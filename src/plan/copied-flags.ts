import { type Image, type KeptTables, SortedOffsets, TablePass } from "../image/index.ts";
import { type CopiedSink, copiedInL2 } from "./copied-intents.ts";
import type { CountedTables } from "./counted-tables.ts";
import type { Drafts } from "./draft.ts";
import { GatheredFlags } from "./gathered-flags.ts";
import type { L1Tables } from "./l1-tables.ts";
import type { NeededBlocks } from "./needed-blocks.ts";
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
 * of a cluster whose refcount falls to 1. Below a table that the active layer has
 * left, and something else has not, its last path is through that table, and it is
 * not the active layer's. If not all of these clusters were met in the tables that
 * were read and in those that it has left, the others are read too.
 */
export class CopiedFlags {
  readonly #counted: CountedTables;
  readonly #touched: TablePass;
  readonly #gathered: GatheredFlags;
  readonly #left: SortedOffsets;
  readonly #passOver: (tables: SortedOffsets) => TablePass;
  readonly #others: TablePass;

  private constructor(
    counted: CountedTables,
    touched: TablePass,
    gathered: GatheredFlags,
    left: SortedOffsets,
    others: SortedOffsets,
    passOver: (tables: SortedOffsets) => TablePass,
  ) {
    this.#counted = counted;
    this.#touched = touched;
    this.#gathered = gathered;
    this.#left = left;
    this.#others = passOver(others);
    this.#passOver = passOver;
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
    const reached = SortedOffsets.of(targets);
    const others = reached.without(counted.decided).without(touched);
    const left = counted.weights.tables.without(reached);
    // Those of them that are counted too are read once.
    kept.want(touched);
    return new CopiedFlags(
      counted,
      new TablePass(image, touched, onTable, kept),
      new GatheredFlags(image.header.geometry, touched),
      left,
      others,
      (offsets) => new TablePass(image, offsets, onTable),
    );
  }

  /** Compares the flags of entries that lead into the window, when everything in it is counted. */
  async compare(changes: RefcountChanges, blocks: NeededBlocks, result: CopiedSink): Promise<void> {
    const met =
      changes.stored.isWhole || !this.#gathered.fits
        ? await compareTables(this.#touched, changes, blocks, result)
        : await this.#gather(changes, blocks, result);
    const wanted = newlyExclusive(changes, this.#counted) - met;
    if (wanted <= 0) return;
    if (changes.stored.isWhole && (await this.#metElsewhere(changes)) >= wanted) return;
    await compareTables(this.#others, changes, blocks, result);
  }

  /** Where a table leads into several windows, what is wrong in it is said at the last one, all at once. */
  async #gather(changes: RefcountChanges, blocks: NeededBlocks, result: CopiedSink): Promise<number> {
    let met = 0;
    for await (const table of this.#touched.tables(changes.stored)) {
      if (!blocks.isComplete) await blocks.below(table);
      met += this.#gathered.compare(changes, table);
      if (this.#touched.isLast(table, changes.stored)) this.#gathered.into(result, table);
    }
    return met;
  }

  /** Clusters whose last path is through a table that the active layer has left. */
  async #metElsewhere(changes: RefcountChanges): Promise<number> {
    const { clusterSize } = changes.stored.geometry;
    const stay = this.#left.offsets.filter((offset) => changes.after(offset / clusterSize) > 0);
    let met = 0;
    for await (const table of this.#passOver(new SortedOffsets(stay)).tables(changes.stored)) {
      met += changes.newlyExclusiveBelow(table);
    }
    return met;
  }
}

async function compareTables(
  pass: TablePass,
  changes: RefcountChanges,
  blocks: NeededBlocks,
  result: CopiedSink,
): Promise<number> {
  let met = 0;
  for await (const table of pass.tables(changes.stored)) {
    if (!blocks.isComplete) await blocks.below(table);
    met += copiedInL2(changes, table, result);
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
