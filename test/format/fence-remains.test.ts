import { describe, expect, test } from "vitest";
import {
  type BytePatch,
  SECTOR_SIZE,
  decodeExtensions,
  decodeHeader,
  fencePatches,
  unfencePatches,
} from "../../src/format/index.ts";
import { makeImage, seededRandom } from "../../tools/image-maker/index.ts";

const CLUSTER = 8192;

/** The first cluster of an image whose END marker lies behind `fill` bytes of extensions. */
function firstCluster(version: 2 | 3, fill: number): Buffer {
  const bytes = makeImage({
    version,
    clusterBits: 13,
    virtualSize: 2 ** 20,
    extensions: fill === 0 ? [] : [{ type: 0x7766_5500, data: new Uint8Array(fill).fill(0x41) }],
  });
  return Buffer.from(bytes.subarray(0, CLUSTER));
}

function decode(cluster: Uint8Array) {
  const header = decodeHeader(cluster);
  return { header, area: decodeExtensions(cluster, header) };
}

function apply(cluster: Uint8Array, patches: readonly BytePatch[]): void {
  for (const { offset, after } of patches) cluster.set(after, offset);
}

/** Sectors that a fence changes; the first is always among them, for the mark is in it. */
function changedSectors(before: Buffer, after: Buffer): number[] {
  const sectors: number[] = [];
  for (let at = SECTOR_SIZE; at < CLUSTER; at += SECTOR_SIZE) {
    if (!before.subarray(at, at + SECTOR_SIZE).equals(after.subarray(at, at + SECTOR_SIZE))) sectors.push(at);
  }
  return sectors;
}

/** Every set of lost sectors where there are few, else a sample. */
function* losses(sectors: readonly number[], random: ReturnType<typeof seededRandom>): Generator<number[]> {
  if (sectors.length <= 6) {
    for (let mask = 0; mask < 2 ** sectors.length; mask++) {
      yield sectors.filter((_, index) => (mask >> index) % 2 === 1);
    }
    return;
  }
  yield [...sectors];
  for (let round = 0; round < 40; round++) yield sectors.filter(() => random.chance(0.5));
}

const JOURNALS = {
  short: "/vms/.qcowal",
  long: `/srv/${"virtual machines, ".repeat(30)}/.qcowal`,
  longest: `/${'ä"}1'.repeat(700)}/.qcowal`,
};

describe.each([2, 3] as const)(
  "version %i: a fence comes off without a record of it, whatever a power cut left",
  (version) => {
    test.each(Object.entries(JOURNALS))("with a %s path of the journal", (_, journal) => {
      const random = seededRandom(version * 1000 + journal.length);
      const owner = { journal, journalId: "d30e2a9f-a8e4-4ae8-bc36-b98cdf4dd7e2", transaction: 1234 };
      let torn = 0;
      let stayed = 0;
      for (let fill = 0; fill < 1100; fill += 8) {
        const clean = firstCluster(version, fill);
        const { header, area } = decode(clean);
        const patches = fencePatches(header, area, clean, owner);
        const explanation = patches.length > 1 ? patches[0] : undefined;
        // What other programs hide behind the END marker, right behind ours.
        const hidden = explanation === undefined ? 0 : explanation.offset + explanation.after.length;
        if (fill % 3 === 0 && hidden > 0 && hidden < CLUSTER - 600) clean.fill(0x42, hidden, hidden + 600);
        const fenced = Buffer.from(clean);
        apply(fenced, patches);
        for (const lost of losses(changedSectors(clean, fenced), random)) {
          const shown = Buffer.from(fenced);
          for (const at of lost) clean.copy(shown, at, at, at + SECTOR_SIZE);
          const found = decode(shown);
          expect(found.header.fenced).toBe(true);
          const { explanation: remains, mark } = unfencePatches(found.header, found.area, shown);
          apply(shown, remains);
          // Killed or cut off in between, the same is found again, and nothing more.
          const again = decode(shown);
          expect(unfencePatches(again.header, again.area, shown).explanation).toEqual([]);
          apply(shown, [mark]);
          const differs = shown.findIndex((byte, index) => byte !== clean[index]);
          if (differs >= 0) {
            // Only the middle of a path of more than a sector may stay, where both its ends were lost.
            const isPath = shown.subarray(differs, differs + SECTOR_SIZE).every((byte) => byte >= 0x20);
            if (journal.length < SECTOR_SIZE || lost.length < 2 || !isPath) {
              throw new Error(
                `fill ${fill}, lost ${lost.join()}: byte ${differs} of ${explanation?.offset} to ${hidden}`,
              );
            }
            stayed++;
            clean.copy(shown, 0, 0, hidden);
            expect(shown.equals(clean)).toBe(true);
          }
          torn++;
        }
      }
      expect(torn).toBeGreaterThan(100);
      expect(stayed).toBeLessThan(torn * 0.2);
    });
  },
);

test("what was there before is not taken for a fence's explanation", () => {
  const clean = firstCluster(3, 0);
  const { header, area } = decode(clean);
  const end = area.endOffset ?? 0;
  clean.write("somebody's notes", end + 8);
  const fenced = Buffer.from(clean);
  apply(fenced, fencePatches(header, area, clean, { journal: "/j", journalId: "x", transaction: 1 }));
  const found = decode(fenced);
  const { explanation, mark } = unfencePatches(found.header, found.area, fenced);
  expect(explanation).toEqual([]);
  apply(fenced, [mark]);
  expect(fenced.equals(clean)).toBe(true);
});
