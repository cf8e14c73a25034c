import { expect, test } from "vitest";
import { geometryOf } from "../../src/format/index.ts";
import { readRefcountBlocks } from "../../src/image/index.ts";
import { MemoryDisk } from "../support/memory-disk.ts";

const GEOMETRY = geometryOf({ version: 3, clusterBits: 9, refcountOrder: 4, extendedL2: false });
/** Slot 0 has no block; slots 1 and 4 name the same one, and slot 3 one that lies before it. */
const TABLE = Float64Array.of(0, 2048, 4096, 512, 2048, 1536);

async function read(first: number, end: number, isStored?: (slot: number) => boolean): Promise<unknown[]> {
  const disk = new MemoryDisk(Uint8Array.from({ length: 4608 }, (_, at) => at / 512));
  const found: unknown[] = [];
  for await (const { slots, bytes } of readRefcountBlocks(disk, GEOMETRY, TABLE, { first, end }, isStored)) {
    found.push([[...slots], bytes.length, bytes[0]]);
  }
  return found;
}

test("blocks are read once, in file order, with all slots that name them", async () => {
  expect(await read(0, 6)).toEqual([
    [[3], 512, 1],
    [[5], 512, 3],
    [[1, 4], 512, 4],
    [[2], 512, 8],
  ]);
});

test("only those of the window are read, which may end behind the table", async () => {
  expect(await read(2, 4)).toEqual([
    [[3], 512, 1],
    [[2], 512, 8],
  ]);
  expect(await read(5, 1000)).toEqual([[[5], 512, 3]]);
  expect(await read(6, 1000)).toEqual([]);
});

test("slots that are not to be believed are left out", async () => {
  expect(await read(0, 6, (slot) => slot !== 1 && slot !== 5)).toEqual([
    [[3], 512, 1],
    [[4], 512, 4],
    [[2], 512, 8],
  ]);
});
