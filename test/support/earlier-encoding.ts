import { type Intent, encodeIntent } from "../../src/intent/index.ts";

/** Numbers in bytes of 7 bits, the least significant first. */
function packed(values: Iterable<number>): Uint8Array {
  const bytes: number[] = [];
  for (let value of values) {
    for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
    bytes.push(value);
  }
  return Uint8Array.from(bytes);
}

function* gaps(runs: readonly (readonly [first: number, count: number, ...rest: number[]])[]) {
  let end = 0;
  for (const [first, count, ...rest] of runs) {
    yield* [first - end, count, ...rest];
    end = first + count;
  }
}

/** An intent as journals hold it that were written when runs were lists of numbers. */
export function encodedAsEarlier(intent: Intent): readonly unknown[] {
  switch (intent.kind) {
    case "refcount":
      return [1, intent.block, intent.order, packed(gaps(intent.runs))];
    case "copied": {
      const { table, length, entrySize, set, runs, checksum } = intent;
      return [2, table, length, entrySize, set, packed(gaps(runs)), checksum];
    }
    case "discard":
      return [5, packed(intent.runs.flat())];
    case "fill":
    case "pointer":
    case "header":
    case "zero":
      return encodeIntent(intent);
  }
}
