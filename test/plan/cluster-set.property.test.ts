import fc from "fast-check";
import { expect, test } from "vitest";
import { ClusterSet } from "../../src/plan/cluster-set.ts";

/** Near each other, at the ends of chunks, and where a file of some PiB has its last cluster. */
const cluster = fc.oneof(
  fc.integer({ min: 0, max: 70 }),
  fc.integer({ min: 65_500, max: 65_600 }),
  fc.integer({ min: 2 ** 31 - 40, max: 2 ** 31 + 40 }),
  fc.integer({ min: 2 ** 44, max: 2 ** 44 + 40 }),
);

test("a set of clusters holds what a Set of numbers holds", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), cluster), { maxLength: 60 }), (steps) => {
      const model = new Set<number>();
      const set = new ClusterSet();
      for (const [isAdded, number] of steps) {
        if (isAdded) {
          model.add(number);
          set.add(number);
        } else {
          model.delete(number);
          set.delete(number);
        }
        expect(set.size).toBe(model.size);
        expect(set.has(number)).toBe(model.has(number));
      }
      expect([...set].toSorted((a, b) => a - b)).toEqual([...model].toSorted((a, b) => a - b));
    }),
  );
});
