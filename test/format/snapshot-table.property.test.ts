import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type SnapshotEntry,
  decodeSnapshotTable,
  encodeSnapshotTable,
  snapshotTableBytes,
} from "../../src/format/index.ts";

const MIB = 2 ** 20;

const entryOf = (id: number, name: number, extra: number, seed: number): SnapshotEntry => ({
  l1TableOffset: BigInt(seed) * 65_536n,
  l1Size: seed,
  id: new Uint8Array(id).fill(1 + (seed % 200)),
  name: new Uint8Array(name).fill(1 + ((seed * 7) % 200)),
  dateSec: seed,
  dateNsec: seed,
  vmClockNsec: BigInt(seed),
  vmStateSize: 0n,
  diskSize: 10n,
  icount: undefined,
  unknownExtra: new Uint8Array(extra).fill(1 + ((seed * 13) % 200)),
});

const arbitrary = fc.array(
  fc
    .tuple(fc.nat(60_000), fc.nat(60_000), fc.nat(1000))
    .map(([id, name, extra]) => [id, name, extra] as const),
  { minLength: 1, maxLength: 60 },
);

test("a table that is encoded in pieces reads back as its entries, wherever a piece ends", () => {
  fc.assert(
    fc.property(arbitrary, (sizes) => {
      const entries = sizes.map((size, index) => entryOf(...size, index + 1));
      const room = Math.ceil(snapshotTableBytes(entries) / 65_536) * 65_536;
      const table = new Uint8Array(room);
      let end = 0;
      for (const { at, length, writeTo } of encodeSnapshotTable(entries, room)) {
        expect(at).toBe(end);
        end = at + length;
        for (const again of [false, true]) {
          const piece = new Uint8Array(length);
          writeTo(piece);
          if (again) expect(Buffer.compare(piece, table.subarray(at, end))).toBe(0);
          table.set(piece, at);
        }
      }
      expect(end).toBe(room);
      const decoder = decodeSnapshotTable(entries.length, false, Infinity, (entry) => entry);
      let step = decoder.next();
      while (step.done !== true) {
        const { at, length } = step.value;
        const bytes = new Uint8Array(length);
        bytes.set(table.subarray(at, at + length));
        step = decoder.next(bytes);
      }
      expect(step.value.problem).toBeUndefined();
      expect(step.value.entries).toHaveLength(entries.length);
      for (const [index, { id, name, unknownExtra, ...fields }] of step.value.entries.entries()) {
        const wanted = entries[index] as SnapshotEntry;
        expect({ ...wanted, ...fields }).toEqual(wanted);
        const texts = [id, name, unknownExtra].map((bytes) => Buffer.from(bytes));
        expect(
          Buffer.concat(texts).equals(Buffer.concat([wanted.id, wanted.name, wanted.unknownExtra])),
        ).toBe(true);
      }
      // Behind the last entry is nothing.
      expect(table.subarray(snapshotTableBytes(entries)).every((byte) => byte === 0)).toBe(true);
    }),
    { numRuns: 12 },
  );
});

test("a table of several MiB is some pieces, one that fits into one is one, and an empty one none", () => {
  const many = Array.from({ length: 40 }, (_, index) => entryOf(60_000, 60_000, 0, index + 1));
  expect(encodeSnapshotTable(many, 5 * MIB)).toHaveLength(5);
  expect(encodeSnapshotTable(many.slice(0, 1), 196_608)).toHaveLength(1);
  expect(encodeSnapshotTable([], 0)).toEqual([]);
});
