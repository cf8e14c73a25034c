import assert from "node:assert/strict";
import { readImage } from "../../src/image/index.ts";
import type { ImagePlan, Operation, RepairOperation } from "../../src/plan/index.ts";
import { applyPlan } from "../../test/support/apply-plan.ts";
import { Machine } from "../../test/support/machine.ts";
import { MemoryDisk } from "../../test/support/memory-disk.ts";
import { type World, attempt, attemptRecovery, repairWorld } from "../../test/support/world.ts";
import { type Random, seededRandom } from "../image-maker/index.ts";
import { PATH, originalFor } from "./corpus.ts";
import { planned, readEverything, refusable } from "./entry-points.ts";
import { assertInside, content, judgeMendedInPart, judgeRepaired } from "./judge.ts";
import { mutated } from "./mutate.ts";
import { placesIn } from "./places.ts";
import type { RealImages } from "./real-images.ts";

export const MUTANTS_PER_CASE = 20;

/** How far mutants came: a run in which nothing is ever repaired, or refused, proves little. */
export interface Counts {
  readonly images: number;
  /** Images that a repair without a choice mended. */
  readonly repaired: number;
  /** Images that needed snapshots given up. */
  readonly rescued: number;
  /** Images of which the repair without a choice mended a part, and said what it left. They end in one of the others. */
  readonly inPart: number;
  /** Those that giving up snapshots does not mend: their table would exceed 64 MiB, so that only a file that is handed over is one. */
  readonly left: number;
  readonly refused: number;
  readonly fenced: number;
  readonly recovered: number;
}

export const NO_COUNTS: Counts = {
  images: 0,
  repaired: 0,
  rescued: 0,
  inPart: 0,
  left: 0,
  refused: 0,
  fenced: 0,
  recovered: 0,
};

export interface CaseOptions {
  readonly real: RealImages;
  /** Told of each mutant before it is tried: one in which the process hangs or dies can be named. */
  readonly onMutant?: (mutant: number, bytes: Uint8Array) => void;
  /** Told when an entry point has ended; throws if it took too much. */
  readonly onEntryPoint?: () => void;
  /** Shown what a repair left. */
  readonly sample?: (bytes: Uint8Array) => Promise<void>;
}

interface Mutant {
  readonly bytes: Uint8Array;
  readonly journal: World["journal"] | undefined;
}

/** One mutant of one case. */
export class MutantFailure extends Error {
  override readonly name = "MutantFailure";
  readonly bytes: Uint8Array;

  constructor(message: string, bytes: Uint8Array, cause: unknown) {
    super(message, { cause });
    this.bytes = bytes;
  }
}

/** Runs all mutants of a case. @throws MutantFailure with the seed to replay in its message */
export async function runCase(seed: number, options: CaseOptions): Promise<Counts> {
  const random = seededRandom(seed);
  const original = await originalFor(random, options.real);
  const places = placesIn(original.bytes);
  const counts = { ...NO_COUNTS };
  for (let number = 0; number < MUTANTS_PER_CASE; number += 1) {
    const bytes = mutated(original.bytes, places, random);
    options.onMutant?.(number, bytes);
    counts.images += 1;
    try {
      const { end, isInPart } = await tryMutant({ bytes, journal: original.journal }, random, options);
      counts[end] += 1;
      if (isInPart) counts.inPart += 1;
    } catch (cause) {
      const what = cause instanceof Error ? cause.message : String(cause);
      throw new MutantFailure(
        `case ${seed}, mutant ${number} (${original.name}): ${what}\nReplay it: npm run fuzz -- --case ${seed}`,
        bytes,
        cause,
      );
    }
  }
  return counts;
}

type End = "repaired" | "rescued" | "left" | "refused" | "fenced" | "recovered";

interface Outcome {
  readonly end: End;
  readonly isInPart: boolean;
}

const repair = (rest: Partial<RepairOperation> = {}): RepairOperation => ({
  type: "repair",
  image: PATH,
  ...rest,
});

/** Every entry point on one image. */
export async function tryMutant(
  { bytes, journal }: Mutant,
  random: Random,
  {
    onEntryPoint = () => undefined,
    sample = () => Promise.resolve(),
  }: Pick<CaseOptions, "onEntryPoint" | "sample"> = {},
): Promise<Outcome> {
  const disk = new MemoryDisk(bytes, { path: PATH });
  const plannedOn = async (operation: Operation): ReturnType<typeof planned> => {
    const report = await planned(disk, operation);
    onEntryPoint();
    return report;
  };
  await readEverything(disk, onEntryPoint);
  const ids = await snapshotIds(disk);
  const id = ids[random.int(Math.max(1, ids.length))] ?? "1";
  const operations: Operation[] = [
    { type: "create", image: PATH, name: "new" },
    { type: "revert", image: PATH, id },
    { type: "delete", image: PATH, id },
    { type: "rename", image: PATH, id, to: "other" },
    repair({ what: "leaks" }),
  ];
  for (const operation of operations) await plannedOn(operation);
  const plans = [await plannedOn(repair({ harden: random.chance(0.5) }))];
  if (!mendsAll(plans[0])) plans.push(await plannedOn(repair({ dropDamagedSnapshots: true })));
  assert.equal(disk.events, 0, "something was written although nothing but plans was asked for");
  for (const report of plans) {
    const plan = report?.images[0];
    if (plan === undefined) continue;
    await judgePlan(bytes, disk, plan, mendsAll(report), sample);
    if (mendsAll(report) && random.chance(0.05)) await judgeTransaction(bytes, disk, plan);
  }
  const isInPart = plans[0] !== undefined && !mendsAll(plans[0]);
  if (mendsAll(plans.at(-1))) return { end: plans.length === 1 ? "repaired" : "rescued", isInPart };
  if (isInPart) return { end: "left", isInPart };
  const end = journal === undefined ? "refused" : await judgeFenced(bytes, disk, journal, sample);
  return { end, isInPart };
}

/** True for the plan of a repair that leaves nothing. */
function mendsAll(report: Awaited<ReturnType<typeof planned>>): boolean {
  const [outcome] = report?.images[0]?.outcomes ?? [];
  return outcome?.type === "repair" && outcome.left.length === 0;
}

async function snapshotIds(disk: MemoryDisk): Promise<string[]> {
  const image = await refusable("read", () => readImage(disk));
  return image?.snapshotTable.snapshots.map(({ id }) => id) ?? [];
}

/** The plan alone is carried out, on a copy: it does what it says, and no more. */
async function judgePlan(
  bytes: Uint8Array,
  mutant: MemoryDisk,
  plan: ImagePlan,
  isWhole: boolean,
  sample: NonNullable<CaseOptions["sample"]>,
): Promise<void> {
  const before = content(bytes);
  const disk = mutant.reopen();
  await applyPlan(disk, plan);
  assertInside(disk, plan.fileSize.to, plan.summary.clusterSize);
  const [outcome] = plan.outcomes;
  const left = disk.bytes();
  const mended = outcome?.type === "repair" ? outcome.mended : undefined;
  if (!isWhole) {
    await judgeMendedInPart(bytes, left, mended);
    return;
  }
  await judgeRepaired(before, left, disk, mended);
  await sample(left);
}

/** The same through journal and fence: it leaves the same bytes. */
async function judgeTransaction(bytes: Uint8Array, mutant: MemoryDisk, plan: ImagePlan): Promise<void> {
  const [outcome] = plan.outcomes;
  const isDropping = outcome?.type === "repair" && outcome.mended.snapshotsDropped.length > 0;
  const operation = repair({ dropDamagedSnapshots: true, harden: !isDropping });
  const world: World = { images: new Map([[PATH, mutant]]), journal: [] };
  const { failure, world: left } = await attempt(world, [operation], new Machine());
  if (failure !== undefined) throw failure;
  const disk = left.images.get(PATH);
  assert.ok(disk !== undefined);
  assertInside(disk, plan.fileSize.to, plan.summary.clusterSize);
  await judgeRepaired(
    content(bytes),
    disk.bytes(),
    disk.reopen(),
    outcome?.type === "repair" ? outcome.mended : undefined,
  );
}

/** An image that an interrupted operation holds, with its journal and without. */
async function judgeFenced(
  bytes: Uint8Array,
  mutant: MemoryDisk,
  journal: World["journal"],
  sample: NonNullable<CaseOptions["sample"]>,
): Promise<End> {
  // Each process works on a copy.
  const world: World = { images: new Map([[PATH, mutant]]), journal };
  const { failure, world: left } = await attemptRecovery(world, new Machine());
  if (failure !== undefined) await refusable("recover", () => Promise.reject(failure));
  const scanned = await refusable("repair without journal", async () => repairWorld(world));
  const disk = scanned?.world.images.get(PATH);
  if (disk !== undefined && disk.events > 0) {
    await judgeRepaired(content(bytes), disk.bytes(), disk.reopen(), undefined);
    await sample(disk.bytes());
  }
  return failure === undefined && (left.images.get(PATH)?.events ?? 0) > 0 ? "recovered" : "fenced";
}
