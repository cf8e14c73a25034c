import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Random, makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { QcowalError } from "../../src/errors/index.ts";
import { readImage } from "../../src/image/index.ts";
import { type ImagePlan, type RepairOperation, planImage } from "../../src/plan/index.ts";
import { mutate } from "../check/mutate.ts";
import { NOW, applyPlan } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { checkImage } from "../support/naive-qcow2.ts";
import { seededRandom } from "../support/random.ts";
import { unpacked, withWholeTables } from "../support/simple-plan/index.ts";
import { spoiled } from "../support/spoiled.ts";

/** Less than any block takes: a window has at least one, and changes in one at most. */
const ONE_BLOCK = 1;

/** A plan with its intents as arrays, or what the refusal says. */
async function planned(
  bytes: Uint8Array,
  operation: Omit<RepairOperation, "image">,
  windowBytes?: number,
): Promise<ImagePlan | { readonly refused: string }> {
  const disk = new MemoryDisk(bytes);
  try {
    const image = await readImage(disk, true);
    const plan = await planImage(image, [{ ...operation, image: disk.path }], { now: NOW, windowBytes });
    return { ...plan, phases: unpacked(plan.phases) };
  } catch (error) {
    if (!(error instanceof QcowalError)) throw error;
    return { refused: `${error.code}: ${error.message}` };
  }
}

function damaged(seed: number, random: Random): Uint8Array {
  // Blocks of 64 refcounts: several windows of one block each, whatever the size.
  const isSmall = seed % 4 !== 0;
  const spec = randomSpec(random, { maxClusterBits: isSmall ? 9 : 12 });
  const wide = isSmall && spec.version === 3 ? { refcountOrder: 6 } : {};
  const sound = makeImage({ ...spec, ...wide });
  const some = random.chance(0.7) ? spoiled(sound, random) : sound;
  return random.chance(0.5) ? mutate(some, random) : some;
}

/** Refcount blocks in which something changes. */
function changedBlocks({ phases: { raise, lower } }: ImagePlan): Set<number> {
  const changes = [...raise, ...lower].filter((intent) => intent.kind === "refcount");
  return new Set(changes.map(({ block }) => block));
}

/** Of more than ten contradictions, which are told first depends on the windows. */
function withoutFirst(value: unknown): unknown {
  const contradiction =
    /(cluster \d+ belongs to .*? and to (metadata|an L2 table|data|compressed data)|entry \d+ of the L2 table at 0x[0-9a-f]+ [^.;["]+)(\s*\[[^\]]*\])?/g;
  const json = JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? `${part}n` : part));
  const text = json.replaceAll(contradiction, "!");
  return JSON.parse(text.replaceAll(/!(; !)*/g, "!"));
}

const OPERATIONS: readonly Omit<RepairOperation, "image">[] = [
  { type: "repair" },
  { type: "repair", what: "leaks" },
  { type: "repair", harden: true },
  { type: "repair", dropDamagedSnapshots: true },
];

test("a repair in windows of one refcount block is the same as in one window, on any damaged image", async () => {
  const seen = { mended: 0, refused: 0, windows: 0 };
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 - 1 }), async (seed) => {
      const random = seededRandom(seed);
      const bytes = damaged(seed, random);
      const operation = random.pick(OPERATIONS);
      const whole = await planned(bytes, operation);
      const inWindows = await planned(bytes, operation, ONE_BLOCK);
      const joined = "refused" in inWindows ? inWindows : withWholeTables(inWindows);
      // The matcher compares megabytes of a new table byte by byte; it is only asked what differs.
      if (!isDeepStrictEqual(joined, whole)) expect(withoutFirst(joined)).toEqual(withoutFirst(whole));
      if ("refused" in inWindows) {
        seen.refused += 1;
        return;
      }
      const disk = new MemoryDisk(bytes);
      await applyPlan(disk, inWindows);
      const [outcome] = inWindows.outcomes;
      if (outcome?.type === "repair" && outcome.left.length > 0) return;
      expect(checkImage(disk.bytes())).toMatchObject({ leaks: [], corruptions: [] });
      if (inWindows.summary.refcountsChanged > 0) seen.mended += 1;
      if (changedBlocks(inWindows).size > 1) seen.windows += 1;
    }),
    { numRuns: Number(process.env["QCOWAL_REPAIR_WINDOWS"] ?? 400), endOnFailure: true },
  );
  expect(seen.mended).toBeGreaterThan(100);
  // One in seven: 54 of 400, give or take 7.
  expect(seen.windows).toBeGreaterThan(15);
  expect(seen.refused).toBeGreaterThan(20);
});
