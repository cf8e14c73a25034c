import fc from "fast-check";
import { expect, test } from "vitest";
import { SortedOffsets } from "../../src/image/index.ts";
import { l2Weights } from "../../src/plan/table-weights.ts";

/** Few different ones, so that they repeat; 0 stands for none. */
const targets = fc
  .array(fc.integer({ min: 0, max: 12 }).map((cluster) => cluster * 65_536))
  .map((offsets) => Float64Array.from(offsets));

const distinct = (offsets: Iterable<number>): number[] =>
  [...new Set(offsets)].filter((offset) => offset !== 0).toSorted((a, b) => a - b);

test("L2 tables have the paths that counting them one by one gives, also those that an L1 table names twice", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ targets, weight: fc.constantFrom(-2, -1, 1, 2) })), (roots) => {
      const sums = new Map<number, number>();
      for (const root of roots) {
        for (const target of root.targets) sums.set(target, (sums.get(target) ?? 0) + root.weight);
      }
      const weights = l2Weights(
        roots.map((root) => {
          const location = { offset: 0, entries: root.targets.length };
          const table = { ...location, targets: root.targets, copied: new Uint8Array(root.targets.length) };
          return { contents: location, weight: root.weight, table };
        }),
      );
      const changed = distinct(sums.keys()).filter((offset) => sums.get(offset) !== 0);
      expect([...weights.tables.offsets]).toEqual(changed);
      expect(changed.map((offset) => weights.of(offset))).toEqual(changed.map((offset) => sums.get(offset)));
      for (const offset of sums.keys()) expect(weights.has(offset)).toBe(changed.includes(offset));
    }),
  );
});

test("sorted offsets are the set that their offsets make", () => {
  fc.assert(
    fc.property(targets, targets, (one, other) => {
      const [a, b] = [SortedOffsets.of(one), SortedOffsets.of(other)];
      expect([...a.offsets]).toEqual(distinct(one));
      expect([...a.with(b).offsets]).toEqual(distinct([...one, ...other]));
      expect([...a.without(b).offsets]).toEqual(distinct(one).filter((offset) => !other.includes(offset)));
      expect([...a.and(b).offsets]).toEqual(distinct(one).filter((offset) => other.includes(offset)));
      // In any order: what was found last only says where to look first.
      for (const offset of other) expect(a.has(offset)).toBe(offset !== 0 && one.includes(offset));
    }),
  );
});
