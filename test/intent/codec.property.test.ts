import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Intent, type RefcountRun, decodeIntent, encodeIntent } from "../../src/intent/index.ts";
import { isQcowalError } from "../../src/errors/index.ts";
import { seededRandom } from "../support/random.ts";
import { KINDS, randomIntent } from "./random-intent.ts";
import { encodedAsEarlier } from "../support/earlier-encoding.ts";

const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 });

/** Runs without gaps or with them, few pairs of values or many: each way of writing them is met. */
const runs = fc
  .tuple(
    fc.array(
      fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max: 40 }), fc.nat(), fc.boolean()),
      {
        minLength: 1,
        maxLength: 200,
      },
    ),
    fc.uniqueArray(fc.tuple(fc.maxSafeNat(), fc.maxSafeNat()), {
      minLength: 1,
      maxLength: 20,
      selector: String,
    }),
    fc.maxSafeNat().map((first) => first % 2 ** 40),
  )
  .map(([gaps, values, start]): RefcountRun[] => {
    let end = start;
    let last = -1;
    return gaps.map(([gap, count, pick, isShort]) => {
      let value = pick % values.length;
      // Two runs of the same values side by side are one.
      const first = end + (isShort ? 0 : gap);
      if (value === last && first === end) value = (value + 1) % values.length;
      const from = first + (value === last && first === end ? 1 : 0);
      last = value;
      end = from + (isShort ? 1 : count);
      return [from, end - from, ...(values[value] ?? [0, 0])] as const;
    });
  });

const withoutNeighbours = (all: readonly RefcountRun[]): [number, number][] => {
  const result: [number, number][] = [];
  for (const [first, count] of all) {
    const last = result.at(-1);
    if (last !== undefined && last[0] + last[1] === first) last[1] += count;
    else result.push([first, count]);
  }
  return result;
};

function kindsOf(all: readonly RefcountRun[]): Intent[] {
  const entries = withoutNeighbours(all);
  const common = { kind: "copied", table: 0, length: 512, entrySize: 8, checksum: 7 } as const;
  const ranges = entries.map(([first, count]) => [first * 512, count * 512] as const);
  return [
    { kind: "refcount", block: 2 ** 50, order: 6, runs: all },
    { ...common, set: true, runs: entries },
    { kind: "discard", runs: ranges },
  ];
}

describe("an intent comes back from the journal as it was", () => {
  test("whatever its runs", () => {
    fc.assert(
      fc.property(runs, (all) => {
        for (const intent of kindsOf(all)) expect(decodeIntent(encodeIntent(intent))).toEqual(intent);
      }),
      { numRuns: 300 },
    );
  });

  test("when an earlier journal holds it", () => {
    fc.assert(
      fc.property(runs, (all) => {
        for (const intent of kindsOf(all)) expect(decodeIntent(encodedAsEarlier(intent))).toEqual(intent);
      }),
      { numRuns: 100 },
    );
  });

  test.each(KINDS)("of the kind %s", (kind) => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { intent } = randomIntent(seededRandom(seed), kind);
        expect(decodeIntent(encodeIntent(intent))).toEqual(intent);
      }),
      { numRuns: 30 },
    );
  });
});

/** Gap, count, from and to of each run. */
test("what earlier journals hold is read for ever", () => {
  const packed = Uint8Array.of(3, 2, 0, 1, 0x80, 1, 1, 1, 2);
  expect(decodeIntent([1, 65_536, 4, packed])).toEqual({
    kind: "refcount",
    block: 65_536,
    order: 4,
    runs: [
      [3, 2, 0, 1],
      [133, 1, 1, 2],
    ],
  });
  expect(decodeIntent([2, 65_536, 512, 8, true, Uint8Array.of(3, 2, 1, 1), 9])).toEqual({
    kind: "copied",
    table: 65_536,
    length: 512,
    entrySize: 8,
    set: true,
    runs: [
      [3, 2],
      [6, 1],
    ],
    checksum: 9,
  });
  expect(decodeIntent([5, Uint8Array.of(0x80, 4, 0x80, 8)])).toEqual({
    kind: "discard",
    runs: [[512, 1024]],
  });
});

/** First entry 3, one pair 1 -> 2, then how the states are written. */
test("what journals hold now is read for ever", () => {
  const asRuns = Uint8Array.of(3, 1, 1, 2, 0, 3, 0, 1);
  const asBits = Uint8Array.of(3, 1, 1, 2, 1, 4, 0b1011);
  const runsOf = (bytes: Uint8Array): unknown =>
    (decodeIntent([7, 65_536, 4, bytes]) as { runs?: unknown }).runs;
  const expected = [
    [3, 2, 1, 2],
    [6, 1, 1, 2],
  ];
  expect(runsOf(asRuns)).toEqual(expected);
  expect(runsOf(asBits)).toEqual(expected);
  expect(decodeIntent([9, Uint8Array.of(9, 3, 0, 3, 0, 1)])).toEqual({
    kind: "discard",
    runs: [
      [3 * 512, 1024],
      [6 * 512, 512],
    ],
  });
});

test("runs of one or two entries take a few bits for each entry, not bytes for each run", () => {
  const all = Array.from({ length: 2048 }, (_, index): RefcountRun => [
    index,
    1,
    1 + (index & 1),
    2 + (index & 1),
  ]);
  for (const intent of kindsOf(all)) {
    const bytes = encodeIntent(intent).find((field) => field instanceof Uint8Array) as Uint8Array;
    expect(bytes.length).toBeLessThan(intent.kind === "refcount" ? 2048 / 4 + 20 : 20);
  }
});

test("any bytes are runs or are refused as damage", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.constantFrom(1, 2, 5, 7, 8, 9), (bytes, tag) => {
      const fields =
        { 1: [0, 4], 7: [0, 4], 2: [0, 512, 8, true], 8: [0, 512, 8, true], 5: [], 9: [] }[tag] ?? [];
      try {
        const intent = decodeIntent([tag, ...fields, bytes, 0]);
        for (const number of (intent as unknown as { runs: readonly number[][] }).runs.flat()) {
          expect(Number.isSafeInteger(number)).toBe(true);
        }
      } catch (error) {
        if (!isQcowalError(error, "JOURNAL_DAMAGED")) throw error;
      }
    }),
    { numRuns: 2000 },
  );
});
