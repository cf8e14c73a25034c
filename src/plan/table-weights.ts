import { type L1Location, type L1Table, TableWeights, sortedTargets } from "../image/index.ts";
import type { Draft, Drafts, Root } from "./draft.ts";

/** Contents of one stored L1 table, and by how many roots more (or fewer) they are used afterwards. */
export interface RootWeight {
  readonly contents: L1Location;
  readonly weight: number;
}

const rootsOf = (draft: Draft): readonly Root[] => [
  draft.active,
  ...draft.snapshots.map((snapshot) => snapshot.root),
];

/** Net change in the use of each L1 table's contents; tables that are used as often as before are left out. */
export function rootWeights(before: Draft, after: Draft): readonly RootWeight[] {
  const weights = new Map<number, { contents: L1Location; weight: number }>();
  const count = (draft: Draft, by: number): void => {
    for (const { contents } of rootsOf(draft)) {
      const entry = weights.get(contents.offset) ?? { contents, weight: 0 };
      entry.weight += by;
      weights.set(contents.offset, entry);
    }
  };
  count(before, -1);
  count(after, 1);
  return [...weights.values()].filter(({ weight }) => weight !== 0);
}

/** By how many the paths to a table change at most that a root refers to once. */
export function mostPaths({ before, after }: Drafts): number {
  return rootWeights(before, after).reduce((sum, { weight }) => sum + Math.abs(weight), 0);
}

/** Stored L1 tables that roots stop using; once for each root that does. */
export function abandonedTables(before: Draft, after: Draft): readonly L1Location[] {
  const kept = new Map<number, number>();
  for (const { stored, contents } of rootsOf(after)) {
    if (stored) kept.set(contents.offset, (kept.get(contents.offset) ?? 0) + 1);
  }
  return rootsOf(before)
    .map((root) => root.contents)
    .filter(({ offset, entries }) => {
      const uses = kept.get(offset) ?? 0;
      if (uses > 0) kept.set(offset, uses - 1);
      return uses === 0 && entries > 0;
    });
}

/**
 * Net change in the paths to each L2 table. Tables that the old and the new
 * roots share cancel out and need not even be read: the cost of a revert follows
 * the difference, not the disk.
 */
export function l2Weights(roots: readonly (RootWeight & { readonly table: L1Table })[]): TableWeights {
  return roots.reduce(
    (weights, { table, weight }) => weights.plus(sortedTargets(table.targets), weight),
    new TableWeights(),
  );
}
