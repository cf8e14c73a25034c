import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isQcowalError } from "../../src/errors/index.ts";
import {
  type Intent,
  PackedIntents,
  decodeIntent,
  positionOf,
  unpackIntents,
} from "../../src/intent/index.ts";
import { seededRandom } from "../support/random.ts";

const flags = (table: number, first: number): Intent => ({
  kind: "copied",
  table,
  length: 512,
  entrySize: 8,
  set: true,
  runs: [[first, 1]],
  checksum: first,
});

/** Several at a place, in no order. */
function inNoOrder(count: number): Intent[] {
  const random = seededRandom(count);
  return Array.from({ length: count }, (_, index) => flags(512 * random.int(count), index % 64));
}

const inOrder = (intents: readonly Intent[]): Intent[] =>
  intents.toSorted((a, b) => positionOf(a) - positionOf(b));

function packed(intents: readonly Intent[]): PackedIntents {
  const result = new PackedIntents();
  for (const intent of intents) result.push(intent);
  return result;
}

describe("packed intents", () => {
  test("go on in the order of their places, those of one place in that in which they came", () => {
    for (const count of [0, 1, 2, 17, 3000]) {
      const intents = inNoOrder(count);
      const list = packed(intents);
      expect(list.length).toBe(count);
      expect([...list]).toEqual(inOrder(intents));
      // A second time, and as JSON.
      expect([...list]).toEqual(inOrder(intents));
      expect(JSON.parse(JSON.stringify(list))).toEqual(inOrder(intents));
    }
  });

  test("take over others, which may grow on their own", () => {
    const [first, second, third] = [inNoOrder(40), inNoOrder(60), inNoOrder(7)];
    const source = packed(first);
    const all = PackedIntents.of(source, second, packed(third));
    source.push(flags(0, 1));
    all.push(flags(512, 2));
    expect([...all]).toEqual(inOrder([...first, ...second, ...third, flags(512, 2)]));
    expect([...source]).toEqual(inOrder([...first, flags(0, 1)]));
  });

  test("are longer than a chunk", () => {
    const long: Intent = {
      kind: "discard",
      runs: Array.from({ length: 280_000 }, (_, index) => [index ** 2 * 2 ** 14 + 512, 512] as const),
    };
    const intents = [flags(0, 1), long, flags(1024, 2)];
    // The matcher takes seconds for that.
    expect(isDeepStrictEqual([...packed(intents)], intents)).toBe(true);
    expect(packed([long]).pieces(1).next().value?.length).toBeGreaterThan(2 ** 20);
  });

  test("come back from pieces, none of which is empty or much too long", () => {
    const intents = inNoOrder(3000);
    const pieces = [...packed(intents).pieces(1000)];
    expect(pieces.length).toBeGreaterThan(10);
    for (const piece of pieces.slice(0, -1)) {
      expect(piece.length).toBeGreaterThanOrEqual(1000);
      expect(piece.length).toBeLessThan(1100);
    }
    const lists = pieces.map(unpackIntents);
    expect(lists.flatMap((list) => [...list])).toEqual(inOrder(intents));
    expect(lists.reduce((sum, { length }) => sum + length, 0)).toBe(3000);
    expect([...new PackedIntents().pieces(1000)]).toEqual([]);
  });

  test("take a few bytes for what is an object of hundreds", () => {
    const block = (index: number): Intent => ({
      kind: "refcount",
      block: index * 65_536,
      order: 4,
      runs: Array.from(
        { length: 32_768 },
        (_, entry) => [entry, 1, 1 + (entry & 1), 2 + (entry & 1)] as const,
      ),
    });
    const [piece] = packed([block(1), block(2)]).pieces(2 ** 20);
    expect(piece?.length).toBeLessThan(2 * (8192 + 50));
  });

  test("a piece with any bytes is refused as damage or read", () => {
    const [whole = new Uint8Array()] = packed(inNoOrder(20)).pieces(2 ** 20);
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.boolean(), (at, byte, isCut) => {
        const piece = isCut ? whole.slice(0, at) : whole.slice();
        if (!isCut) piece[at] = byte;
        try {
          for (const intent of unpackIntents(piece)) expect(intent).toHaveProperty("kind");
        } catch (error) {
          if (!isQcowalError(error, "JOURNAL_DAMAGED")) throw error;
        }
      }),
      { numRuns: 500 },
    );
    expect(() => decodeIntent([99])).toThrow("kind 99 is not known");
  });
});
