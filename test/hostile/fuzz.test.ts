/** Mutated images through every entry point; more with QCOWAL_FUZZ_IMAGES, without end with `npm run fuzz`. */
import { beforeAll, describe, expect, test } from "vitest";
import { caseSeed } from "../../tools/crash/cases.ts";
import { MUTANTS_PER_CASE } from "../../tools/fuzz/run-case.ts";
import { NONE, adding, inWords } from "../../tools/fuzz/totals.ts";
import { Workers } from "../../tools/fuzz/workers.ts";
import { requireQemu } from "../support/qemu.ts";

const IMAGES = Number(process.env["QCOWAL_FUZZ_IMAGES"] ?? 20_000);
const SEED = Number(process.env["QCOWAL_SEED"] ?? 20_260_101);
const WORKERS = 2;
/** Of the images that a repair left, one in so many is shown to qemu-img. */
const QEMU_ONE_IN = 20;

beforeAll(requireQemu);

describe("a hostile image", () => {
  test(
    `is refused in clear words or repaired, within 5 s and 256 MiB: ${IMAGES} of them`,
    { timeout: 30 * 60_000 },
    async () => {
      console.log(`seed ${SEED} (QCOWAL_SEED)`);
      const seeds = Array.from({ length: Math.ceil(IMAGES / MUTANTS_PER_CASE) }, (_, index) =>
        caseSeed(SEED, index),
      );
      const workers = await Workers.open(WORKERS);
      let totals = NONE;
      const failures: string[] = [];
      try {
        for await (const answer of workers.run(seeds.values(), QEMU_ONE_IN)) {
          if (answer.type === "done") totals = adding(totals, answer.counts, answer.qemu);
          else failures.push(answer.message);
          if (failures.length >= 5) break;
        }
      } finally {
        workers.close();
      }
      console.log(inWords(totals));
      expect(failures).toEqual([]);
      expect(totals.images).toBeGreaterThanOrEqual(IMAGES);
      // A fuzzer that only ever sees one end proves little.
      for (const count of [totals.repaired, totals.refused]) expect(count).toBeGreaterThan(IMAGES / 10);
      for (const count of [totals.rescued, totals.inPart, totals.recovered, totals.fenced]) {
        expect(count).toBeGreaterThan(IMAGES / 100);
      }
      expect(totals.qemu).toBeGreaterThan(IMAGES / 200);
    },
  );
});
