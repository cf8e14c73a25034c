import fc from "fast-check";
import { expect, test } from "vitest";
import { BlockChange } from "../../src/plan/block-change.ts";
import { ChangeArrays } from "../../src/plan/change-arrays.ts";

const ENTRIES = 256;

const stored = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: ENTRIES, maxLength: ENTRIES });
const addition = fc.tuple(
  fc.nat(ENTRIES - 1),
  fc.oneof(fc.constant(1), fc.integer({ min: 1, max: ENTRIES })),
  // Wider than one byte, and than two, some of them by their sum only.
  fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(-2, -1, 1, 3) },
    fc.constantFrom(-100, 100, 127, 128, -129, 20_000, -40_000),
  ),
);
/** Mostly apart, as a disk that was written in order has them, or one over the other. */
const additions = fc.oneof(
  fc.array(addition, { maxLength: 12 }),
  fc
    .array(addition, { maxLength: 160, size: "max" })
    .map((all) => all.map(([first, , by]) => [first, 1, by] as const)),
);

test("changes that are kept as runs are those that are kept by entry", () => {
  let asRuns = 0;
  let asEntries = 0;
  const widths = new Set<number>();
  fc.assert(
    fc.property(stored, additions, fc.nat(ENTRIES - 1), fc.nat(ENTRIES), (values, all, first, length) => {
      const refcounts = Uint16Array.from(values);
      const block = new BlockChange(
        refcounts,
        !refcounts.includes(0),
        new ChangeArrays("disk.qcow2", ENTRIES),
      );
      const expected = new Int32Array(ENTRIES);
      for (const [from, count, by] of all) {
        const end = Math.min(from + count, ENTRIES);
        block.add(from, end, by);
        for (let entry = from; entry < end; entry += 1) expected[entry] = (expected[entry] ?? 0) + by;
      }
      if (block.entries === undefined) asRuns += 1;
      else asEntries += 1;

      expect(Array.from(expected, (_, entry) => block.at(entry))).toEqual([...expected]);
      const end = Math.min(first + length, ENTRIES);
      if (end > first) {
        const until = block.entries === undefined ? block.alikeUntil(first, end) : first;
        const other = expected.subarray(first, end).findIndex((change) => change !== expected[first]);
        if (block.entries === undefined) expect(until).toBe(other < 0 ? end : first + other);
        const zero = refcounts.subarray(first, end).indexOf(0);
        expect(block.uncounted(first, end)).toBe(zero < 0 ? -1 : first + zero);
        // Asked again it answers from what it knows.
        expect(block.uncounted(first, end)).toBe(zero < 0 ? -1 : first + zero);
      }
      const runs: [number, number, number, number][] = [];
      block.forEachRun((from, to, before, change) => void runs.push([from, to, before, change]));
      expect(runs).toEqual(runsOf(refcounts, expected));
      expect([...block.asEntries()]).toEqual([...expected]);
      widths.add(block.asEntries().BYTES_PER_ELEMENT);
    }),
    { numRuns: 500 },
  );
  expect(asRuns).toBeGreaterThan(20);
  expect(asEntries).toBeGreaterThan(20);
  expect(widths).toEqual(new Set([1, 2, 4]));
});

function runsOf(refcounts: Uint16Array, changes: Int32Array): [number, number, number, number][] {
  const runs: [number, number, number, number][] = [];
  for (const [entry, change] of changes.entries()) {
    if (change === 0) continue;
    const before = refcounts[entry] ?? 0;
    const last = runs.at(-1);
    if (last?.[1] === entry && last[2] === before && last[3] === change) last[1] = entry + 1;
    else runs.push([entry, entry + 1, before, change]);
  }
  return runs;
}
