import { expect, test } from "vitest";
import { BlockChange } from "../../src/plan/block-change.ts";
import { ChangeArrays } from "../../src/plan/change-arrays.ts";
import { type CountedRun, compareRun } from "../../src/plan/compare-run.ts";
import { SingleEntries, compareSingles } from "../../src/plan/compare-singles.ts";
import { seededRandom } from "../support/random.ts";

const ENTRY_BITS = 4;
const ENTRIES = 2 ** ENTRY_BITS;
/** The window begins with this block. */
const FIRST = 3;
const BLOCKS = 4;

function windowOf(random: ReturnType<typeof seededRandom>) {
  const blocks = Array.from({ length: BLOCKS }, () => {
    const stored = Uint16Array.from({ length: ENTRIES }, () => random.int(4));
    const block = new BlockChange(stored, !stored.includes(0), new ChangeArrays("disk.qcow2", ENTRIES));
    block.asEntries();
    for (let entry = 0; entry < ENTRIES; entry += 1) {
      const change = random.int(3) - Math.min(1, stored[entry] ?? 0);
      if (change !== 0) block.add(entry, entry + 1, change);
    }
    return block;
  });
  return { blocks, first: FIRST, entryBits: ENTRY_BITS };
}

test("entries that are compared together are judged as each by itself", () => {
  for (let seed = 0; seed < 300; seed += 1) {
    const random = seededRandom(seed);
    const window = windowOf(random);
    const singles = new SingleEntries(64);
    const together: unknown[] = [];
    const apart: unknown[] = [];
    const telling = (list: unknown[]) =>
      [
        (...wrong: unknown[]): void => void list.push(["wrong", ...wrong]),
        (...refused: unknown[]): void => void list.push(["refused", ...refused]),
      ] as const;
    let newlyExclusive = 0;
    for (let at = 0, entry = 0; at < 1 + random.int(64); at += 1, entry += 1 + random.int(3)) {
      const index = random.int(BLOCKS);
      const block = window.blocks[index];
      if (block === undefined) throw new Error("no block");
      const from = random.int(ENTRIES);
      const cluster = (FIRST + index) * ENTRIES;
      const isSet = random.chance(0.5);
      singles.push(cluster + from, entry, isSet);
      const run: CountedRun = {
        stored: block.stored,
        block,
        from,
        to: from + 1,
        cluster,
        above: from - entry,
        isSet,
      };
      newlyExclusive += compareRun(run, ...telling(apart));
    }
    expect(compareSingles(singles, window, ...telling(together))).toBe(newlyExclusive);
    expect(together).toEqual(apart);
    expect(singles.count).toBe(0);
  }
});

test("an entry of a block that does not count by entry is a mistake of ours", () => {
  const singles = new SingleEntries(1);
  singles.push((FIRST + BLOCKS) * ENTRIES, 0, true);
  const ignore = (): void => undefined;
  expect(() => compareSingles(singles, windowOf(seededRandom(1)), ignore, ignore)).toThrow("counts by entry");
});
