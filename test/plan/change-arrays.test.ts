import { expect, test } from "vitest";
import { ChangeArrays, bytesPerChange } from "../../src/plan/change-arrays.ts";

/** Of a refcount block of 2 MiB. */
const ENTRIES = 2 ** 20;

test("a change takes the bytes that it needs in both directions", () => {
  const limits = [1, 127, 128, 32_767, 32_768, 2 ** 31 - 1];
  expect(limits.map(bytesPerChange)).toEqual([1, 1, 2, 2, 4, 4]);
  expect(() => bytesPerChange(2 ** 31)).toThrow("exceeds 32 bits");
});

test("the arrays of a window are those of the next one, empty", () => {
  const arrays = new ChangeArrays("disk.qcow2", 4, 200);
  const first = arrays.make();
  expect(first).toEqual(new Int16Array(4));
  first.fill(7);
  const wide = arrays.widened(arrays.make(), 40_000);
  arrays.giveBack([first, wide]);
  expect([arrays.make(), arrays.make()]).toEqual([new Int16Array(4), new Int16Array(4)]);
  expect(first).toEqual(new Int16Array(4));
});

test("wide arrays take no more than 48 MiB in a window, whatever leads to its clusters", () => {
  const arrays = new ChangeArrays("disk.qcow2", ENTRIES);
  const widen = () => arrays.widened(arrays.make(), -40_000);
  // Each takes 3 MiB more than it did.
  const wide = Array.from({ length: 16 }, widen);
  expect(wide[0]).toBeInstanceOf(Int32Array);
  expect(widen).toThrow(
    /^disk.qcow2: so many clusters gain or lose hundreds of references .* within 48 MiB. Nothing was changed. Change fewer/,
  );
});

test("what a window gives back, the next one has", () => {
  const arrays = new ChangeArrays("disk.qcow2", ENTRIES);
  for (let window = 0; window < 3; window += 1) {
    arrays.giveBack(Array.from({ length: 16 }, () => arrays.widened(arrays.make(), 40_000)));
  }
});
