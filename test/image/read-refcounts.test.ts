import { expect, test } from "vitest";
import { bytesDisk } from "../../src/disk/index.ts";
import { geometryOf } from "../../src/format/index.ts";
import { BlockReader } from "../../src/image/read-refcounts.ts";

const CLUSTER = 512;
const ENTRIES = CLUSTER / 2;

test("blocks that are alike are held once, also when others lie between, and those that are nearly alike are not", async () => {
  const geometry = geometryOf({ version: 3, clusterBits: 9, refcountOrder: 4, extendedL2: false });
  // All refcounts are 1, but for the last of a block.
  const lasts = [1, 1, 2, 1, 3, 4, 1, 1, 4, 2, 2, 1];
  const file = Buffer.alloc((lasts.length + 1) * CLUSTER);
  for (const [slot, last] of lasts.entries()) {
    for (let entry = 0; entry < ENTRIES; entry += 1) {
      file.writeUInt16BE(entry === ENTRIES - 1 ? last : 1, (slot + 1) * CLUSTER + entry * 2);
    }
  }
  const table = Float64Array.from(lasts, (_, slot) => (slot + 1) * CLUSTER);
  const disk = bytesDisk("/blocks", file);
  const reader = new BlockReader(disk, { geometry, tableOffset: 0, table }, undefined);
  const refcounts = await reader.read();
  for (const [slot, last] of lasts.entries()) {
    expect(refcounts.get(slot * ENTRIES), `block ${slot}`).toBe(1);
    expect(refcounts.get((slot + 1) * ENTRIES - 1), `block ${slot}`).toBe(last);
  }
  expect(refcounts.block(6)).toBe(refcounts.block(0));
  expect(reader.heldBytes).toBeLessThan(8 * CLUSTER);
});
