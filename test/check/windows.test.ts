/** A check counts in windows of the file when memory is short: the report must not show it. */
import { describe, expect, test } from "vitest";
import { isQcowalError } from "../../src/errors/index.ts";
import { type CheckMemory, type CheckedTables, checkTables, readHead } from "../../src/image/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { seededRandom } from "../support/random.ts";
import { mutate } from "./mutate.ts";

const SEEDS = 160;
const MUTANTS = 3;
const SHARDS = 4;

async function report(disk: MemoryDisk, memory?: CheckMemory): Promise<CheckedTables | string> {
  try {
    const options = memory === undefined ? {} : { memory };
    return await checkTables(disk, await readHead(disk), { usage: true, ...options });
  } catch (error) {
    if (!isQcowalError(error)) throw error;
    return error.message;
  }
}

/** How many refcount blocks count the clusters of an image: of one block each, there are so many windows. */
async function blocksOf(disk: MemoryDisk): Promise<number> {
  const { header, fileSize } = await readHead(disk);
  return Math.ceil(fileSize / (header.geometry.clusterSize * header.geometry.refcountEntries));
}

describe("the report does not depend on the memory", () => {
  test.for(Array.from({ length: SHARDS }, (_, shard) => shard))("part %i", async (shard) => {
    let inWindows = 0;
    for (let seed = shard; seed < SEEDS; seed += SHARDS) {
      const random = seededRandom(seed);
      const spec = randomSpec(random, { maxClusterBits: 10 });
      // Wide refcounts: a block counts few clusters, and most images have several.
      const bytes = makeImage(spec.version === 2 ? spec : { ...spec, refcountOrder: 6 });
      if ((await blocksOf(new MemoryDisk(bytes))) > 1) inWindows += 1;
      for (let mutant = 0; mutant < MUTANTS; mutant += 1) {
        // A damaged L1 table may lead to thousands of L2 tables: one at a time would take forever.
        const isSound = mutant === 0;
        const disk = new MemoryDisk(isSound ? bytes : mutate(bytes, random));
        const expected = await report(disk);
        const least = { counts: 1, flags: 1, tables: isSound ? 1 : 2 ** 13 };
        expect(await report(disk, least), `seed ${seed}, mutant ${mutant}`).toEqual(expected);
        const some = {
          counts: 1024 * (1 + random.int(64)),
          flags: 1 + random.int(256),
          tables: isSound ? 2 + random.int(3) : 2 ** 13,
        };
        expect(await report(disk, some), `seed ${seed}, mutant ${mutant}`).toEqual(expected);
      }
    }
    expect(inWindows).toBeGreaterThan(5);
  });
});
