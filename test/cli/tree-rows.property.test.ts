import fc from "fast-check";
import { expect, test } from "vitest";
import { type TreeRow, treeRows } from "../../src/cli/views/tree-rows.ts";
import type { Ancestor, SnapshotNode, SnapshotTree } from "../../src/index.ts";

/** Each from the one that its number picks: an earlier one, the beginning, or nobody knows. */
function treeOf(picks: readonly number[], current: number, goneEvery = 0): SnapshotTree {
  const ancestor = (pick: number, count: number): Ancestor => {
    const at = pick % (count + 2);
    return at === count ? null : at === count + 1 ? undefined : String(at);
  };
  const nodes = picks.map((pick, index): SnapshotNode => {
    const came = { transaction: index, time: index };
    return {
      key: String(index),
      snapshot: { id: String(index), name: `s${index}` },
      origin: "created",
      came,
      parent: ancestor(pick, index),
      reverts: [],
      renames: [],
      ...(goneEvery > 0 && index % goneEvery === 0 ? { gone: { ...came, how: "deleted" as const } } : {}),
    };
  });
  return {
    nodes,
    live: [],
    unlisted: 0,
    current: ancestor(current, picks.length),
    asOf: { transaction: picks.length, time: 0 },
  };
}

const keyOf = ({ item }: TreeRow): string => (typeof item === "string" ? item : item.key);

test("every snapshot stands once, below or beside what it was taken from, in few columns", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 60 }), fc.nat(), fc.boolean(), (picks, current, all) => {
      const tree = treeOf(picks, current, 3);
      const rows = treeRows(tree, all);
      const shown = tree.nodes.filter(({ gone }) => all || gone === undefined);
      const keys = rows.map(keyOf).filter((key) => /^\d/.test(key));
      expect(keys.toSorted()).toEqual(shown.map(({ key }) => key).toSorted());
      expect(rows.filter(({ item }) => item === "disk")).toHaveLength(1);
      for (const [index, row] of rows.entries()) {
        if (row.from === undefined) {
          expect(["beginning", "unknown"]).toContain(row.item);
          continue;
        }
        const above = rows[row.from] as TreeRow;
        expect(row.from).toBeLessThan(index);
        // What stands between them in the picture belongs to branches of the upper one.
        expect([0, 1]).toContain(row.column - above.column);
        const between = rows.slice(row.from + 1, index);
        expect(between.every(({ column }) => column > above.column)).toBe(true);
        if (all && typeof row.item !== "string") {
          const expected = row.item.parent === null ? "beginning" : (row.item.parent ?? "unknown");
          expect(keyOf(above)).toBe(expected);
        }
      }
      const deepest = rows.reduce((most, { column }) => Math.max(most, column), 0);
      expect(deepest).toBeLessThanOrEqual(Math.log2(picks.length + 2) + 1);
    }),
  );
});

test("10,000 snapshots one after the other are one column", () => {
  const rows = treeRows(
    treeOf(
      Array.from({ length: 10_000 }, (_, index) => (index === 0 ? 0 : index - 1)),
      9_999,
    ),
    true,
  );
  expect(rows).toHaveLength(10_002);
  expect(rows.every(({ column }) => column === 0)).toBe(true);
});
