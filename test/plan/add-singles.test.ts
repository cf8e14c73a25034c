import { expect, test } from "vitest";
import { addSingles } from "../../src/plan/add-singles.ts";
import { BlockChange } from "../../src/plan/block-change.ts";
import { ChangeArrays } from "../../src/plan/change-arrays.ts";

const ENTRY_BITS = 3;
/** The window begins with this block. */
const FIRST = 5;
const START = FIRST * 2 ** ENTRY_BITS;

function blocksOf(...stored: readonly (readonly number[])[]) {
  const blocks = stored.map((refcounts) => {
    const change = new BlockChange(
      Uint16Array.from(refcounts),
      !refcounts.includes(0),
      new ChangeArrays("disk.qcow2", 2 ** ENTRY_BITS),
    );
    change.asEntries();
    return change;
  });
  return { blocks, first: FIRST, entryBits: ENTRY_BITS };
}

test("each cluster of a list is counted in its block, as often as it is named", () => {
  const window = blocksOf([1, 1, 1, 1, 1, 1, 1, 1], [2, 0, 0, 0, 0, 0, 0, 9]);
  const clusters = Uint32Array.of(START + 15, START, START + 7, START + 8, START);
  expect(addSingles(clusters, window, 3)).toBe(-1);
  expect([...(window.blocks[0]?.entries ?? [])]).toEqual([6, 0, 0, 0, 0, 0, 0, 3]);
  expect([...(window.blocks[1]?.entries ?? [])]).toEqual([3, 0, 0, 0, 0, 0, 0, 3]);
  const runs: number[][] = [];
  window.blocks[0]?.forEachRun((...run) => void runs.push(run));
  expect(runs).toEqual([
    [0, 1, 1, 6],
    [7, 8, 1, 3],
  ]);
});

test("the first cluster whose refcount is 0 is told, and ends it", () => {
  const window = blocksOf([1, 0, 1, 1, 1, 1, 0, 1]);
  const clusters = Uint32Array.of(START + 2, START + 6, START + 1, START + 3);
  expect(addSingles(clusters, window, 1)).toBe(START + 6);
  expect([...(window.blocks[0]?.entries ?? [])]).toEqual([0, 0, 1, 0, 0, 0, 0, 0]);
});

test("a change that one byte or two cannot hold is counted in more, beside those of before", () => {
  const window = blocksOf([1, 1, 1, 1, 1, 1, 1, 1]);
  const clusters = Uint32Array.of(START + 1, START, START, START + 2, START);
  const widths = [100, 20_000, -1].map((weight) => {
    expect(addSingles(clusters, window, weight)).toBe(-1);
    return window.blocks[0]?.entries?.BYTES_PER_ELEMENT;
  });
  expect(widths).toEqual([2, 4, 4]);
  expect([...(window.blocks[0]?.entries ?? [])]).toEqual([60_297, 20_099, 20_099, 0, 0, 0, 0, 0]);
});

test("a change that 32 bits cannot hold stops it", () => {
  const window = blocksOf([1, 1, 1, 1, 1, 1, 1, 1]);
  const clusters = Uint32Array.of(START, START);
  expect(() => addSingles(clusters, window, 2 ** 31 - 1)).toThrow("exceeds 32 bits");
});

test("a cluster of a block that does not count by entry is a mistake of ours", () => {
  expect(() => addSingles(Uint32Array.of(START + 8), blocksOf([1]), 1)).toThrow("counts by entry");
});
