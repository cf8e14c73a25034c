import { expect, test } from "vitest";
import { equalAsBytes } from "./compare-bytes.ts";

test("bytes are equal where all of them are, and nowhere else", () => {
  expect(new Uint8Array([1, 2])).toEqual(new Uint8Array([1, 2]));
  expect({ deep: [Buffer.from([1, 2])] }).toEqual({ deep: [Buffer.from([1, 2])] });
  expect(new Uint8Array([1, 2])).not.toEqual(new Uint8Array([1, 3]));
  expect(new Uint8Array([1, 2])).not.toEqual(new Uint8Array([1, 2, 0]));
  expect({ deep: [Buffer.from([1, 2])] }).not.toEqual({ deep: [Buffer.from([2, 1])] });
  expect(Buffer.from([1, 2])).not.toEqual(new Uint8Array([1, 2]));
});

test("what are not equal bytes is left to the matcher", () => {
  expect(equalAsBytes(new Uint8Array([1, 2]), new Uint8Array([1, 2]))).toBe(true);
  expect(equalAsBytes(new Uint8Array([1, 2]), new Uint8Array([1, 3]))).toBeUndefined();
  expect(equalAsBytes(new Uint8Array([1]), Buffer.from([1]))).toBeUndefined();
  expect(equalAsBytes([1], [1])).toBeUndefined();
});
