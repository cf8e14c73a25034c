import { type Image, KeptTables, type RefcountWindows, type Refcounts, TablePass } from "../image/index.ts";
import { type CopiedIntent, PackedIntents } from "../intent/index.ts";
import { ChangeArrays } from "./change-arrays.ts";
import { type CopiedSink, copiedInL1, decideL1Flags, flagsOf } from "./copied-intents.ts";
import { CopiedFlags } from "./copied-flags.ts";
import { countTables } from "./count-tables.ts";
import type { CountedTables } from "./counted-tables.ts";
import { type Drafts, isSharedByTable } from "./draft.ts";
import type { L1Tables } from "./l1-tables.ts";
import { NeededBlocks } from "./needed-blocks.ts";
import { RefcountChanges } from "./refcount-changes.ts";
import type { ReceivedTables } from "./received-tables.ts";
import {
  type RefcountIntents,
  addRefcountIntents,
  newTableIntent,
  noRefcountIntents,
} from "./refcount-intents.ts";
import type { StoredBytes } from "./released.ts";
import type { RefcountGrowth } from "./space.ts";
import { mostPaths } from "./table-weights.ts";

/** Everything that changes in refcounts and COPIED flags. */
export interface ReferenceChanges {
  readonly refcounts: RefcountIntents;
  /** Flags that clear, and flags that set. */
  readonly clear: PackedIntents;
  readonly set: PackedIntents;
  readonly copiedFlagsChanged: number;
  /** COPIED flags that the entries of the active L1 table have to have: 1, else 0. */
  readonly l1Flags: Uint8Array;
  /** Refcounts that change. */
  readonly refcountsChanged: number;
}

/** What is known before the passes over the tables. */
export interface KnownReferences {
  readonly drafts: Drafts;
  readonly counted: CountedTables;
  readonly growth: RefcountGrowth;
  /** Where something changes to which no L2 table leads. */
  readonly otherPlaces: () => Iterable<StoredBytes>;
  /** Tells these changes, as far as they lie in the window. */
  readonly addOthers: (changes: RefcountChanges) => void;
  /** Refuses a window in which a structure that the plan relies on is not counted, as far as its blocks were read. */
  readonly check: (changes: RefcountChanges) => void;
  readonly received?: ReceivedTables | undefined;
}

/**
 * Counts, window after window of the refcounts: what each window needs is
 * decided before the next one is read, so that memory does not grow with the disk.
 */
export async function referenceChanges(
  image: Image,
  windows: RefcountWindows,
  tables: L1Tables,
  { drafts, counted, growth, otherPlaces, addOthers, check, received }: KnownReferences,
  onTable?: () => void,
): Promise<ReferenceChanges> {
  const { geometry } = image.header;
  const refcounts = noRefcountIntents(image);
  const clear = new PackedIntents();
  const set = new PackedIntents();
  let copiedFlagsChanged = 0;
  const into = (intents: PackedIntents) => ({
    push(intent: CopiedIntent): void {
      copiedFlagsChanged += flagsOf(intent);
      intents.push(intent);
    },
  });
  const copied: CopiedSink = { clear: into(clear), set: into(set) };
  const l1 = await tables.whole(drafts.after.active.contents);
  const l1Flags = new Uint8Array(l1.entries);
  const isShared = isSharedByTable(drafts.after);
  const kept = new KeptTables(geometry);
  const pass = new TablePass(image, counted.weights.tables, onTable, kept);
  const flags = await CopiedFlags.of(image, drafts, tables, counted, kept, onTable);
  let refcountsChanged = 0;
  const arrays = new ChangeArrays(image.disk.path, geometry.refcountEntries, mostPaths(drafts));
  const plan = async (window: Refcounts): Promise<void> => {
    const changes = new RefcountChanges(image.disk.path, window, arrays);
    const blocks = new NeededBlocks(windows, window, (offset) => changes.uncountedBlock(offset));
    await blocks.begin(otherPlaces());
    check(changes);
    addOthers(changes);
    await received?.countInto(changes);
    await countTables(pass, counted, changes, blocks, copied);
    addRefcountIntents(changes, growth, refcounts);
    if (!isShared) {
      await blocks.ofClusters(l1.targets);
      decideL1Flags(changes, l1, l1Flags);
    }
    await flags.compare(changes, blocks, copied);
    await received?.decideFlags(changes);
    // More blocks were read by now, perhaps.
    if (!blocks.isComplete) check(changes);
    refcountsChanged += changes.count();
    changes.giveUp();
  };
  for await (const window of windows.all()) await plan(window);
  if (growth.table !== undefined) refcounts.reserve.push(newTableIntent(windows.stored, growth));
  if (drafts.after.active.stored) copiedInL1(geometry, l1, l1Flags, copied);
  return { refcounts, clear, set, copiedFlagsChanged, l1Flags, refcountsChanged };
}
