import type { L1Location, L1Table } from "../image/index.ts";
import type { Draft, Root } from "./draft.ts";

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
 * Net change in the paths to each L2 table, by its host offset. Tables that the
 * old and the new roots share cancel out and need not even be read: the cost of
 * a revert follows the difference, not the disk.
 */
export function l2Weights(roots: readonly (RootWeight & { readonly table: L1Table })[]): Map<number, number> {
  const weights = new Map<number, number>();
  for (const { table, weight } of roots) {
    for (const target of table.targets) {
      if (target === 0) continue;
      const sum = (weights.get(target) ?? 0) + weight;
      if (sum === 0) weights.delete(target);
      else weights.set(target, sum);
    }
  }
  return weights;
}
