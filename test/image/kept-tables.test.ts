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

/** Two clusters in a row are a run, with another one of nothing behind it. */
const RUN_BYTES = 32;

test.each([
  ["in order", RUN_BYTES, 0],
  ["in order", RUN_BYTES, 1],
  ["in order", RUN_BYTES, 1000],
  ["scattered", CLUSTER, 1],
  ["scattered", CLUSTER, 3],
  ["scattered", CLUSTER, 1000],
] as const)(
  "a pass gets every table in order and as it is, whether it is kept, written %s, of %i bytes each, with room for %i, or read again",
  async (order, size, room) => {
    const bytes = makeImage({
      version: 3,
      clusterBits: 9,
      virtualSize: 64 * 64 * CLUSTER,
      active: {
        changes: Array.from({ length: 12 }, (_, index) => index * 5 * 64).flatMap((first) =>
          Array.from({ length: order === "in order" ? 1 : 20 }, (_, index) => ({
            at: first + index * 3,
            count: 2,
            kind: "data" as const,
            seed: first + index,
          })),
        ),
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
    const kept = new KeptTables(header.geometry, room * size);
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
