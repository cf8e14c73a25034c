import { expect, test } from "vitest";
import { geometryOf } from "../../src/format/index.ts";
import { ReferenceCounts } from "../../src/image/check/reference-counts.ts";
import { isBitSet, nextOther } from "../../src/image/check/stored-refcounts.ts";

const geometry = geometryOf({ version: 3, clusterBits: 16, refcountOrder: 4, extendedL2: false });

test("a chunk is counted at once where all of it is counted alike, and else nothing is", () => {
  const counts = new ReferenceCounts(geometry, 1024 * 65536, 2 ** 20);
  counts.begin({ first: 0, end: Infinity });
  const counted = () => [...(counts.chunk(1)?.counts ?? [])];
  expect(counts.addToAlike(1, 1)).toBe(true);
  expect(counts.addToAlike(1, 2)).toBe(true);
  expect(counted()).toEqual(Array.from({ length: 256 }, () => 3));
  expect(counts.addToAlike(1, 29)).toBe(false);
  counts.add(256 + 255, 1, 3);
  const before = counted();
  expect(counts.addToAlike(1, 1)).toBe(false);
  expect(counted()).toEqual(before);
  expect(before.slice(-2)).toEqual([3, 4]);
});

test("the next bit that is not as the others is found wherever it is", () => {
  for (const isSet of [true, false]) {
    for (let odd = 0; odd < 40; odd += 1) {
      const bits = new Uint8Array(8).fill(isSet ? 0xff : 0);
      bits[odd >>> 3] = (bits[odd >>> 3] ?? 0) ^ (1 << (odd & 7));
      for (const first of [0, 3, 8]) {
        for (let from = 0; from < 20; from += 3) {
          let wanted = from;
          while (wanted < 32 && isBitSet(bits, first + wanted) === isSet) wanted += 1;
          expect(nextOther(bits, first, from, 32, isSet)).toBe(wanted);
        }
      }
    }
  }
});
