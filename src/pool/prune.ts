import type { JournalReader } from "../../journal/index.ts";
import {
  type EngineContext,
  type Environment,
  type Guard,
  type OperationsByImage,
  type RunOptions,
  type RunReport,
  currentActor,
  dryRun,
  groupByImage,
  realEnvironment,
  recoverImages,
  runTransaction,
} from "../engine/index.ts";
import { QcowalError } from "../errors/index.ts";
import { liveNodes } from "../history/index.ts";
import { factsOf } from "../image/index.ts";
import { type Operation, parseDeletedName } from "../plan/index.ts";
import {
  type PrunableSnapshot,
  type RetentionPolicy,
  type Verdict,
  applyPolicy,
  policyFrom,
} from "../retention/index.ts";
import { checkImage } from "./check.ts";
import { defaultProgram } from "./default-program.ts";
import { given } from "./given.ts";
import { journalToRead } from "./journal-to-read.ts";
import { recordedTree } from "./recorded-tree.ts";
import { recordStatus } from "./record-status.ts";
import { type SnapshotInfo, listSnapshots } from "./list-snapshots.ts";

export type { RetentionPolicy } from "../retention/index.ts";

export interface PruneOptions extends RunOptions {
  /** Decide only: write neither to images nor to the record. */
  readonly dryRun?: boolean;
  /** All images in one transaction: all are pruned or none. */
  readonly group?: boolean;
  /** A plan that somebody agreed to: by now the rules may remove more, and that stays. */
  readonly agreed?: PruneReport;
}

export interface PrunedSnapshot extends PrunableSnapshot {
  readonly id: string;
}

export interface PrunedImage {
  /** Resolved path. */
  readonly image: string;
  /** Of each snapshot that it had, in table order. */
  readonly verdicts: readonly Verdict<PrunedSnapshot>[];
  /** Bytes that were freed, or would be. */
  readonly bytesFreed: number;
  /** Absent where nothing was removed. */
  readonly transaction?: number;
}

export interface PruneReport {
  readonly dryRun: boolean;
  readonly images: readonly PrunedImage[];
  /** Images that could not be pruned, with the reason. Always empty with `group`. */
  readonly failed: readonly { readonly image: string; readonly error: QcowalError }[];
}

/** @throws TypeError for a malformed policy, or one that has no rule */
export function checkPolicy(policy: RetentionPolicy): void {
  policyFrom(policy);
}

/**
 * What `pool.prune` would do. Reads the record in `journalDir` beside whoever holds it;
 * where there is none, no snapshot is known to be automatic.
 * @throws TypeError for a malformed policy; QcowalError as `openHistory`, NEEDS_RECOVERY
 */
export async function planPrune(
  journalDir: string,
  images: readonly string[],
  policy: RetentionPolicy,
  options: Pick<PruneOptions, "group" | "signal"> = {},
): Promise<PruneReport> {
  checkPolicy(policy);
  const environment = realEnvironment(defaultProgram());
  const paths = await Promise.all(images.map((image) => environment.resolvePath(image)));
  const journal = await journalToRead(journalDir);
  try {
    return await decideAndRun(
      environment,
      journal,
      paths,
      policy,
      { ...options, dryRun: true },
      run(environment, options),
    );
  } finally {
    await journal?.close();
  }
}

/** For a pool, which has queued it: nobody else works on the images. */
export async function pruneImages(
  context: EngineContext,
  paths: readonly string[],
  policy: RetentionPolicy,
  options: PruneOptions,
): Promise<PruneReport> {
  const { environment, journal } = context;
  if (options.dryRun === true) {
    return decideAndRun(environment, journal, paths, policy, options, run(environment, options));
  }
  const prepare = async (path: string): Promise<void> => {
    const actor = currentActor(environment.program, options.actor);
    await recoverImages(context, [path], { actor }, () => undefined);
    await recordStatus(context, path);
  };
  const { dryRun: _, group: __, agreed: ___, ...rest } = options;
  const apply: Apply = (groups, guards) => runTransaction(context, groups, { ...rest, guards });
  return decideAndRun(environment, journal, paths, policy, options, apply, prepare);
}

/** What reads on behalf of a prune ends with it. */
type Signalled = Pick<RunOptions, "signal">;

type Apply = (
  groups: OperationsByImage,
  guards: readonly Guard[],
) => Promise<Pick<RunReport, "images"> & { readonly transaction?: number }>;

const run =
  (environment: Environment, called: Signalled): Apply =>
  (groups, guards) =>
    dryRun(environment, groups, { ...given({ signal: called.signal }), guards });

async function decideAndRun(
  environment: Environment,
  journal: JournalReader | undefined,
  paths: readonly string[],
  policy: RetentionPolicy,
  { dryRun: isDryRun = false, group = false, agreed, signal }: PruneOptions,
  apply: Apply,
  prepare?: (path: string) => Promise<void>,
): Promise<PruneReport> {
  const images: PrunedImage[] = [];
  const failed: { image: string; error: QcowalError }[] = [];
  const unique = [...new Set(paths)];
  for (const together of group ? [unique] : unique.map((path) => [path])) {
    try {
      const decided: PrunedImage[] = [];
      for (const path of together) {
        await prepare?.(path);
        const verdicts = await decide(journal, path, policy, environment.now(), given({ signal }));
        decided.push({ image: path, verdicts: asAgreed(verdicts, path, agreed), bytesFreed: 0 });
      }
      images.push(...(await applied(environment, decided, apply)));
    } catch (error) {
      const [path] = together;
      if (group || path === undefined || !(error instanceof QcowalError) || error.code === "ABORTED")
        throw error;
      failed.push({ image: path, error });
    }
  }
  return { dryRun: isDryRun, images, failed };
}

function asAgreed(
  verdicts: Verdict<PrunedSnapshot>[],
  path: string,
  agreed: PruneReport | undefined,
): Verdict<PrunedSnapshot>[] {
  if (agreed === undefined) return verdicts;
  const asked = agreed.images.find(({ image }) => image === path)?.verdicts ?? [];
  const gone = new Set(asked.filter(({ keep }) => !keep).map(({ snapshot }) => snapshot.key));
  return verdicts.map((verdict) =>
    verdict.keep || gone.has(verdict.snapshot.key)
      ? verdict
      : { ...verdict, keep: true, reasons: ["not in the plan that was agreed to"] },
  );
}

async function applied(
  environment: Environment,
  decided: readonly PrunedImage[],
  apply: Apply,
): Promise<PrunedImage[]> {
  const operations = decided.flatMap(({ image, verdicts }) =>
    verdicts
      .filter(({ keep }) => !keep)
      .map(({ snapshot }): Operation => ({ type: "delete", image, id: snapshot.id })),
  );
  if (operations.length === 0) return [...decided];
  const report = await apply(await groupByImage(environment, operations), [stillAs(decided)]);
  return decided.map((one) => {
    const done = report.images.find(({ image }) => image === one.image);
    if (done === undefined) return one;
    const { clustersFreed, clusterSize } = done.summary;
    const { transaction } = report;
    return {
      ...one,
      bytesFreed: clustersFreed * clusterSize,
      ...(transaction === undefined ? {} : { transaction }),
    };
  });
}

/** Between the decision and the lock others may have deleted a snapshot, and given its id to a new one. */
function stillAs(decided: readonly PrunedImage[]): Guard {
  return {
    found(image) {
      const { path } = image.disk;
      const there = new Set(factsOf(image).map(identity));
      for (const { keep, snapshot } of decided.find((one) => one.image === path)?.verdicts ?? []) {
        if (keep || there.has(snapshot.key)) continue;
        throw new QcowalError(
          "SNAPSHOT_NOT_FOUND",
          `${path}: others changed snapshot ${JSON.stringify(snapshot.name)} (id ${snapshot.id}) meanwhile. Nothing was changed; prune again.`,
        );
      }
    },
  };
}

async function decide(
  journal: JournalReader | undefined,
  path: string,
  policy: RetentionPolicy,
  now: number,
  called: Signalled,
): Promise<Verdict<PrunedSnapshot>[]> {
  const snapshots = await listSnapshots(path, called);
  const nodes = journal === undefined ? [] : liveNodes(await recordedTree(journal, path));
  const held = new Set(
    nodes.filter(({ holds }) => holds !== undefined).map(({ snapshot }) => identity(snapshot)),
  );
  const automatic = new Set(
    nodes.filter(({ auto }) => auto === true).map(({ snapshot }) => identity(snapshot)),
  );
  const exclusive =
    policy.maxSpace === undefined
      ? undefined
      : new Map(
          (await checkImage(path, { usage: true, ...called })).usage?.roots.map(
            ({ snapshot, exclusiveBytes }) => [snapshot?.id, exclusiveBytes],
          ),
        );
  const all = snapshots.map((snapshot): PrunedSnapshot => {
    const exclusiveBytes = exclusive?.get(snapshot.id);
    return {
      key: identity(snapshot),
      id: snapshot.id,
      name: snapshot.name,
      time: snapshot.dateSec * 1000 + Math.floor(snapshot.dateNsec / 1e6),
      auto: automatic.has(identity(snapshot)),
      held: held.has(identity(snapshot)),
      ...(exclusiveBytes === undefined ? {} : { exclusiveBytes }),
    };
  });
  // One that was deleted takes no other's place under any rule: its own time decides.
  const rules = applyPolicy(
    all.filter(({ name }) => parseDeletedName(name) === undefined),
    policy,
    now,
  );
  const verdicts = [...rules, ...all.flatMap((snapshot) => verdictOfDeleted(snapshot, now) ?? [])];
  const places = new Map(all.map((snapshot, place) => [snapshot, place]));
  const placeOf = ({ snapshot }: Verdict<PrunedSnapshot>): number => places.get(snapshot) ?? 0;
  return verdicts.toSorted((one, other) => placeOf(one) - placeOf(other));
}

function verdictOfDeleted(snapshot: PrunedSnapshot, now: number): Verdict<PrunedSnapshot> | undefined {
  const until = parseDeletedName(snapshot.name)?.until;
  if (until === undefined) return undefined;
  const time = new Date(until).toISOString();
  if (snapshot.held === true) return { snapshot, keep: true, reasons: ["hold"] };
  return until > now
    ? { snapshot, keep: true, reasons: [`deleted, kept until ${time}`] }
    : { snapshot, keep: false, reasons: [`deleted, was kept until ${time}`] };
}

/** Ids are given again: the date tells one from the next. */
const identity = ({
  id,
  name,
  dateSec,
  dateNsec,
}: Pick<Partial<SnapshotInfo>, "id" | "name" | "dateSec" | "dateNsec">): string =>
  JSON.stringify([id, name, dateSec, dateNsec]);
