import type { Journal } from "../../journal/index.ts";
import type { Disk } from "../disk/index.ts";
import { withNothingChanged } from "../errors/index.ts";
import { readImage } from "../image/index.ts";
import { type JournaledOperation, type Operation, assertOperation, planImage } from "../plan/index.ts";
import { closeAll, openAll } from "./context.ts";
import { fencedError } from "./fenced-error.ts";
import type { PlannedImage } from "./guard.ts";
import type { Environment, InternalRunOptions } from "./options.ts";
import { Progress } from "./progress.ts";
import type { DryRunReport, ImageReport } from "./reports.ts";

/** The operations of each image, by resolved path in lock order. */
export type OperationsByImage = ReadonlyMap<string, readonly JournaledOperation[]>;

/**
 * @throws TypeError for malformed operations
 * @throws QcowalError IMAGE_NOT_FOUND
 */
export async function groupByImage(
  environment: Environment,
  operations: readonly Operation[],
): Promise<OperationsByImage> {
  if (!Array.isArray(operations) || operations.length === 0) {
    throw new TypeError("operations must be a list of at least one operation");
  }
  const groups = new Map<string, Operation[]>();
  for (const operation of operations) {
    assertOperation(operation);
    const image = await environment.resolvePath(operation.image);
    const group = groups.get(image) ?? [];
    group.push({ ...operation, image });
    groups.set(image, group);
  }
  return new Map([...groups].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** Reads and plans the images, which are locked, and asks the guards. */
export async function planAll(
  disks: readonly Disk[],
  groups: OperationsByImage,
  now: number,
  progress: Progress,
  { guards = [], openReceived }: Pick<InternalRunOptions, "guards" | "openReceived">,
  journal?: Journal,
): Promise<PlannedImage[]> {
  const planned: PlannedImage[] = [];
  const onTable = (): void => progress.checkpoint();
  for (const disk of disks) {
    const operations = groups.get(disk.path) ?? [];
    const image = await readImage(
      disk,
      operations.some(({ type }) => type === "repair"),
    );
    if (image.header.fenced) throw await fencedError(disk.path, image, journal);
    for (const guard of guards) guard.found?.(image);
    const plan = await planImage(image, operations, { now, onTable, openReceived });
    planned.push({ disk, image, operations, plan });
  }
  for (const guard of guards) await guard.planned?.(planned);
  return planned;
}

/** Asks the guards about what was planned without them. */
export async function judged(
  planned: readonly PlannedImage[],
  { guards = [] }: Pick<InternalRunOptions, "guards">,
): Promise<readonly PlannedImage[]> {
  for (const guard of guards) {
    for (const { image } of planned) guard.found?.(image);
    await guard.planned?.(planned);
  }
  return planned;
}

export const reportOf = ({ disk, plan }: PlannedImage): ImageReport => ({
  image: disk.path,
  outcomes: plan.outcomes,
  summary: plan.summary,
});

/** Plans without writing anything: neither image nor journal. Takes the locks of a reader. */
export async function dryRun(
  environment: Environment,
  groups: OperationsByImage,
  options: InternalRunOptions,
): Promise<DryRunReport> {
  const progress = new Progress(options, [...groups.keys()]);
  const disks = await openAll(environment, [...groups.keys()], "read");
  try {
    progress.step("plan");
    const planned = await planAll(disks, groups, environment.now(), progress, options);
    return {
      dryRun: true,
      images: planned.map((image) => ({
        ...reportOf(image),
        fileSize: image.plan.fileSize,
        phases: image.plan.phases,
      })),
    };
  } catch (error) {
    throw withNothingChanged(error);
  } finally {
    await closeAll(disks);
  }
}
