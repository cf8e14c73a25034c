import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  EntryRuns,
  type TableEntries,
  geometryOf,
  packTable,
  plainCluster,
  tableKernel,
  unpackTable,
  withCopied,
} from "../../src/format/index.ts";
import { TABLE_KERNEL } from "../../src/format/table-kernel-code.ts";
import { assembledKernel } from "../../tools/build/table-kernel.ts";

const CLUSTER_BITS = 16;
const STRIDE = 2 ** CLUSTER_BITS;

/** Numbers around those where a half carries, or a flag lies. */
const entry = fc
  .tuple(
    fc.oneof(
      fc.constantFrom(0n, 1n, 0x8000_0000n, 0xffff_ffffn, 0x8000_ffffn, 0x4000_0000n),
      fc.bigInt(0n, 2n ** 32n - 1n),
    ),
    fc.oneof(
      fc.constantFrom(0n, 1n, 0xffff_0000n, 0xfffe_0000n, 0xffff_ffffn, 0x1_0000n),
      fc.bigInt(0n, 2n ** 16n - 1n).map((cluster) => cluster * BigInt(STRIDE)),
      fc.bigInt(0n, 2n ** 32n - 1n),
    ),
  )
  .map(([high, low]) => (high << 32n) | low);
const run = fc.tuple(
  fc.integer({ min: 1, max: 70 }),
  entry,
  fc.constantFrom(0n, BigInt(STRIDE), BigInt(STRIDE), 1n),
);
const entries = fc
  .array(run, { minLength: 1, maxLength: 12 })
  .map((runs) =>
    runs.flatMap(([count, first, by]) =>
      Array.from({ length: count }, (_, index) => BigInt.asUintN(64, first + BigInt(index) * by)),
    ),
  );

function stored(all: readonly bigint[]): Buffer {
  const bytes = Buffer.alloc(all.length * 8);
  for (const [index, one] of all.entries()) bytes.writeBigUInt64BE(one, index * 8);
  return bytes;
}

const words = (all: readonly bigint[]): Uint32Array =>
  Uint32Array.from(all.flatMap((one) => [Number(one >> 32n), Number(one & 0xffff_ffffn)]));

test("the kernel is what its source says", async () => {
  expect(TABLE_KERNEL).toBe(await assembledKernel());
});

test("the kernel runs here: else all of this compares the loops in JavaScript with themselves", () => {
  expect(tableKernel()).toBeDefined();
});

describe("the runs of a table", () => {
  test("are the same whether the kernel finds them or JavaScript", () => {
    let found = 0;
    fc.assert(
      fc.property(entries, (all) => {
        const bytes = stored(all);
        const kept = Buffer.from(bytes);
        const runs = packTable(bytes, STRIDE);
        expect(runs).toEqual(packTable(bytes, STRIDE, undefined));
        expect(bytes.equals(kept)).toBe(true);
        if (runs !== undefined) found += 1;
      }),
      { numRuns: 500 },
    );
    expect(found).toBeGreaterThan(50);
  });

  test.each([0, 1, 2, 7, 8, 9, 4095])("end where entry %i is another one, and nowhere else", (at) => {
    const all = Array.from({ length: 4096 }, (_, index) => 2n ** 63n + BigInt((index + 5) * STRIDE));
    all[at] = (all[at] ?? 0n) ^ 1n;
    const runs = [...(packTable(stored(all), STRIDE) ?? [])].filter((_, index) => index % 4 === 0);
    expect(runs.reduce((sum, count) => sum + count, 0)).toBe(4096);
    expect(runs).toContain(1);
    expect(runs.length).toBeLessThanOrEqual(3);
  });

  test("give the table back as it was, whatever is in it, and take a quarter of it at most", () => {
    let packed = 0;
    fc.assert(
      fc.property(entries, (all) => {
        const runs = packTable(stored(all), STRIDE);
        if (runs === undefined) return;
        packed += 1;
        expect(runs.byteLength).toBeLessThanOrEqual(all.length * 2);
        for (const kernel of [tableKernel(), undefined]) {
          const made = Buffer.alloc(all.length * 8, 7);
          unpackTable(runs, made, kernel);
          expect(made.equals(stored(all))).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
    expect(packed).toBeGreaterThan(50);
  });

  test("of a table of 2 MiB, the largest, are found too", () => {
    const bytes = Buffer.alloc(2 ** 21);
    for (let index = 0; index < 2 ** 18; index += 1) bytes.writeUInt32BE(index * 2 + 2, index * 8 + 2);
    expect([...(packTable(bytes, 2 * STRIDE) ?? [])]).toEqual([2 ** 18, 0, 2 * STRIDE, 2 * STRIDE]);
    for (let index = 0; index < 2 ** 18; index += 1) bytes.writeUInt32BE(index % 8, index * 8);
    expect(packTable(bytes, STRIDE)).toBeUndefined();
    const few = packTable(bytes.fill(1, 0, 2 ** 20).fill(0, 2 ** 20), STRIDE);
    expect([...(few ?? [])]).toEqual([2 ** 17, 0x0101_0101, 0x0101_0101, 0, 2 ** 17, 0, 0, 0]);
  });
});

describe("a pass over the entries of a table", () => {
  const geometry = geometryOf({
    version: 3,
    clusterBits: CLUSTER_BITS,
    refcountOrder: 4,
    extendedL2: false,
  });

  /** Every entry that the pass gives, with its number. */
  function each(table: TableEntries, first?: number, end?: number): (readonly [number, bigint])[] {
    const runs = new EntryRuns(geometry);
    const seen: (readonly [number, bigint])[] = [];
    const isAsItSays = (one: bigint, cluster: number): boolean =>
      plainCluster(CLUSTER_BITS, Number(one >> 32n), Number(one & 0xffff_ffffn)) === cluster;
    runs.begin(table, first, end);
    while (runs.next()) {
      const { count, high, low, cluster } = runs;
      const from = (BigInt(high) << 32n) | BigInt(low);
      let isRight = cluster > 0 || count === 1 || from === 0n;
      for (let index = 0; index < count; index += 1) {
        const isPlain = cluster > 0;
        const one = from + BigInt(isPlain ? index * STRIDE : 0);
        // The clusters of a run follow each other, each as plain as the first.
        isRight &&= isAsItSays(one, isPlain ? cluster + index : cluster);
        seen.push([runs.entry + index, one]);
      }
      if (!isRight) throw new Error(`the run of entry ${runs.entry} is not what it says`);
    }
    return seen;
  }

  test("meets each of them once and in order, by runs, by words, and in a part of it", () => {
    let byRuns = 0;
    fc.assert(
      fc.property(entries, fc.nat(30), fc.nat(60), (all, first, length) => {
        const runs = packTable(stored(all), STRIDE);
        if (runs !== undefined) byRuns += 1;
        const wanted = all.map((one, index) => [index, one] as const);
        const end = Math.min(all.length, first + length);
        expect(String(each({ runs, words: words(all) }))).toBe(String(wanted));
        expect(String(each({ runs: undefined, words: words(all) }))).toBe(String(wanted));
        expect(String(each({ runs, words: words(all) }, first, end))).toBe(String(wanted.slice(first, end)));
      }),
      { numRuns: 300 },
    );
    expect(byRuns).toBeGreaterThan(30);
  });
});

test("COPIED flags of all entries are set and cleared, and nothing else changes", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom(8, 16),
      fc.boolean(),
      (some, size, isSet) => {
        const bytes = Buffer.from(some.subarray(0, some.length - (some.length % size)));
        const wanted = Buffer.from(bytes);
        for (let at = 0; at < wanted.length; at += size) {
          wanted[at] = isSet ? (wanted[at] ?? 0) | 0x80 : (wanted[at] ?? 0) & 0x7f;
        }
        const before = Buffer.from(bytes);
        expect(Buffer.from(withCopied(bytes, size, isSet))).toEqual(wanted);
        expect(Buffer.from(withCopied(bytes, size, isSet, undefined))).toEqual(wanted);
        expect(bytes).toEqual(before);
      },
    ),
    { numRuns: 300 },
  );
});
