import { expect, test } from "vitest";
import { geometryOf } from "../../src/format/index.ts";
import { ChunkTable } from "../../src/image/check/chunk-table.ts";
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
  const copied = new Uint32Array(1024);
  expect([counts.copyCounts(1, copied, 256), copied[255], copied[256], copied[511], copied[512]]).toEqual([
    true,
    0,
    3,
    3,
    0,
  ]);
  expect([counts.count(255), counts.count(256), counts.count(511), counts.used()]).toEqual([0, 3, 3, 256]);
  expect(counts.addToAlike(1, 29)).toBe(false);
  counts.add(256 + 255, 1, 3);
  const before = counted();
  expect(counts.addToAlike(1, 1)).toBe(false);
  expect(counted()).toEqual(before);
  expect(before.slice(-2)).toEqual([3, 4]);
});

test("chunks that are alike, and others, keep what they say when the window gives up its end", () => {
  const table = new ChunkTable(geometry, { small: 1, large: 5 }, 4 * 32_768, 200_000);
  table.begin({ first: 0, end: Infinity });
  const valueOf = (chunk: number): number => 1 + (chunk % 200);
  const isAlike = (chunk: number): boolean => chunk % 3 !== 0;
  for (let chunk = 0; chunk < 512; chunk += 1) {
    if (isAlike(chunk)) expect(table.setAlike(chunk, valueOf(chunk))).toBe(true);
    else table.bytes.fill(valueOf(chunk), table.make(chunk) / 2, table.make(chunk) / 2 + 256);
  }
  for (let chunk = 0; chunk < 60; chunk += 1) {
    table.make(chunk);
    expect(table.enlarge(chunk, () => undefined)).toBeGreaterThan(0);
  }
  const { end } = table.window;
  expect(end).toBeLessThan(4);
  expect(table.setAlike(end * 128, 1)).toBe(false);
  for (let chunk = 60; chunk < end * 128; chunk += 1) {
    expect(table.valueOf(chunk)).toBe(isAlike(chunk) ? valueOf(chunk) : 0);
    const at = table.make(chunk) / 2;
    expect([...new Set(table.bytes.subarray(at, at + 256))]).toEqual([valueOf(chunk)]);
  }
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
