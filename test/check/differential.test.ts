/**
 * `qcowal check` beside the real `qemu-img check` on thousands of damaged images:
 * the same exit code, and the same counts. More with QCOWAL_CHECK_IMAGES=50000.
 */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";
import { DIFFERENCES } from "./differences.ts";
import { mutate } from "./mutate.ts";
import { type Verdict, isSame, verdictOn } from "./verdict.ts";

const IMAGES = Number(process.env["QCOWAL_CHECK_IMAGES"] ?? 5000);
const MUTANTS_PER_IMAGE = 10;
const SHARDS = 10;
const LANES = 2;

beforeAll(requireQemu);

function describeDifference(verdict: Verdict, seed: number, mutant: number): string {
  const { code, qemu, ours, theirs, refusal, report } = verdict;
  const counts = Object.keys(ours).filter((key) => ours[key] !== theirs[key]);
  return [
    `seed ${seed}, mutant ${mutant}: qemu-img ends with ${qemu.code}, we with ${code} ${refusal}`,
    ...counts.map((key) => `  ${key}: ${theirs[key]}, ours ${ours[key]}`),
    ...qemu.stderr.split("\n").slice(0, 10),
    ...(report?.findings ?? []).slice(0, 10).map(({ kind, where, what }) => `  ${kind} ${where}: ${what}`),
  ].join("\n");
}

const seen = new Map<string, number>();

describe(`on ${IMAGES} damaged images`, () => {
  test.for(Array.from({ length: SHARDS }, (_, shard) => shard))(
    "the verdict is that of qemu-img check, part %i",
    { timeout: 600_000 },
    async (shard) => {
      const dir = await tempDir();
      const unexplained: string[] = [];
      const codes = new Map<number, number>();
      const lane = async (index: number): Promise<void> => {
        const path = join(dir, `${index}.qcow2`);
        for (let seed = shard * LANES + index; seed * MUTANTS_PER_IMAGE < IMAGES; seed += SHARDS * LANES) {
          const random = seededRandom(seed);
          const bytes = makeImage(randomSpec(random, { maxClusterBits: 14 }));
          for (let mutant = 0; mutant < MUTANTS_PER_IMAGE; mutant += 1) {
            const verdict = await verdictOn(path, mutate(bytes, random));
            codes.set(verdict.qemu.code, (codes.get(verdict.qemu.code) ?? 0) + 1);
            if (isSame(verdict)) continue;
            const row = DIFFERENCES.find(({ explains }) => explains(verdict));
            if (row === undefined) unexplained.push(describeDifference(verdict, seed, mutant));
            else seen.set(row.name, (seen.get(row.name) ?? 0) + 1);
          }
        }
      };
      await Promise.all(Array.from({ length: LANES }, (_, index) => lane(index)));
      expect(unexplained.slice(0, 5).join("\n\n")).toBe("");
      // Damage that is always seen, or never, would compare nothing.
      for (const code of [0, 1, 2, 3]) expect(codes.get(code) ?? 0, `exit code ${code}`).toBeGreaterThan(5);
    },
  );

  test.runIf(IMAGES >= 5000)("no row of the table is there in vain", () => {
    for (const { name } of DIFFERENCES) expect(seen.get(name) ?? 0, name).toBeGreaterThan(0);
  });
});
