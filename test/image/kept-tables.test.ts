import { expect, test } from "vitest";
import {
  KeptTables,
  SortedOffsets,
  TablePass,
  WHOLE_TABLE,
  readImage,
  readL1Table,
} from "../../src/image/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { MemoryDisk } from "../support/memory-disk.ts";

const CLUSTER = 512;

test.each([0, 1, 3, 1000])(
  "a pass gets every table in order and as it is, whether it is kept, with room for %i, or read again",
  async (room) => {
    const bytes = makeImage({
      version: 3,
      clusterBits: 9,
      virtualSize: 64 * 64 * CLUSTER,
      active: {
        changes: Array.from({ length: 12 }, (_, index) => ({
          at: index * 5 * 64,
          count: 2,
          kind: "data",
          seed: index,
        })),
      },
    });
    const disk = new MemoryDisk(bytes);
    const image = await readImage(disk);
    const { header } = image;
    const { targets } = await readL1Table(disk, header.geometry, {
      offset: header.l1TableOffset,
      entries: header.l1Size,
    });
    const all = SortedOffsets.of(targets);
    expect(all.length).toBe(12);
    // The second pass needs most of what the first one read, and more.
    const first = new SortedOffsets(all.offsets.slice(0, 9));
    const second = new SortedOffsets(all.offsets.filter((_, index) => index % 4 !== 1));
    const kept = new KeptTables(room * CLUSTER);
    kept.want(second);
    const met: number[] = [];
    for (const tables of [first, second]) {
      const seen: number[] = [];
      const pass = new TablePass(image, tables, () => met.push(seen.length), kept);
      for await (const { offset, words } of pass.tables(WHOLE_TABLE)) {
        seen.push(offset);
        const stored = bytes.subarray(offset, offset + CLUSTER);
        expect(Buffer.from(words.buffer, words.byteOffset, words.byteLength).swap32()).toEqual(
          Buffer.from(stored),
        );
      }
      expect(seen).toEqual([...tables.offsets]);
    }
    // Nine are read, and of the nine of the second pass those seven again that are not kept.
    expect(met).toHaveLength(9 + 9 - Math.min(room, 7));
  },
);
