import { type Journal, type JournalReader, resolvedPath } from "../../journal/index.ts";
import {
  type DryRunReport,
  type EngineContext,
  type Environment,
  type HoldBody,
  type NoteBody,
  type RunReport,
  currentActor,
  realEnvironment,
  topicsOf,
} from "../engine/index.ts";
import { QcowalError, isQcowalError, reasonOf } from "../errors/index.ts";
import { undoImpossible } from "../history/index.ts";
import type { SnapshotFacts } from "../image/index.ts";
import { defaultProgram } from "./default-program.ts";
import { given } from "./given.ts";
import { journalToRead } from "./journal-to-read.ts";
import type { PlannedHoldUndo } from "./plan-undo.ts";
import { type SnapshotRef, selection } from "./pool-options.ts";
import { isSameSnapshot, nodesBehind } from "./recorded-tree.ts";
import { type Compared, compareWithRecord } from "./status.ts";

export interface HoldOptions {
  /** Several may hold one snapshot, each under a tag of its own. Default: `hold`. */
  readonly tag?: string;
  readonly actor?: string;
  readonly reason?: string;
  /** Check only: write nothing. */
  readonly dryRun?: boolean;
}

/** What is held, or was released, or would be. */
export interface HoldReport {
  readonly dryRun: boolean;
  readonly tag: string;
  readonly images: readonly {
    /** Resolved path. */
    readonly image: string;
    readonly snapshot: SnapshotFacts;
    /** Number of its record in the history; absent in a dry run. */
    readonly transaction?: number;
  }[];
}

/** What `undo` did, or would do: where it undid a hold or a release, the opposite of that, and nothing to images. */
export type UndoReport<Report = RunReport> = Report & {
  readonly hold?: HoldReport & { readonly verb: HoldVerb };
};

export type AnyUndoReport = UndoReport | UndoReport<DryRunReport>;

export type HoldVerb = "hold" | "release";

const NOTES = { hold: "held", release: "released" } as const satisfies Record<HoldVerb, HoldBody["type"]>;
const DEFAULT_TAG = "hold";
const MAX_TAG_LENGTH = 255;

/** A hold that can be noted. */
interface CheckedHold extends Compared {
  readonly snapshot: SnapshotFacts;
}

/**
 * Records that the snapshot of each of the images is held, or released. All of
 * them are looked at before the first is recorded.
 * @throws TypeError for a malformed tag
 * @throws QcowalError SNAPSHOT_NOT_FOUND, SNAPSHOT_AMBIGUOUS, SNAPSHOT_NOT_HELD, NEEDS_RECOVERY, IMAGE_NOT_FOUND, IMAGE_IN_USE
 */
export async function noteHolds(
  context: EngineContext,
  paths: readonly string[],
  verb: HoldVerb,
  ref: SnapshotRef,
  options: HoldOptions,
): Promise<HoldReport> {
  const tag = tagOf(options);
  const { journal, environment } = context;
  const checked = await checkHolds(journal, environment, paths, verb, ref, tag);
  return options.dryRun === true
    ? reportOf(checked, tag)
    : reportOf(checked, tag, await noted(context, checked, verb, tag, options));
}

/** Numbers of the records. */
async function noted(
  { journal, environment }: EngineContext,
  checked: readonly CheckedHold[],
  verb: HoldVerb,
  tag: string,
  { actor: name, ...rest }: Omit<HoldOptions, "dryRun" | "tag"> & { readonly undoes?: number },
): Promise<number[]> {
  const numbers: number[] = [];
  const actor = currentActor(environment.program, name);
  const { reason, undoes } = rest;
  for (const [index, { status, seen, snapshot }] of checked.entries()) {
    try {
      // A hold is one of a snapshot that the record knows.
      if (status.observed !== undefined) {
        await note(journal, { type: "observed", image: seen.identity, observed: status.observed, actor });
      }
      const more = given({ reason, undoes });
      const body = { type: NOTES[verb], image: seen.identity, snapshot, tag, actor, ...more };
      numbers.push(await note(journal, body));
    } catch (error) {
      throw index === 0 ? error : partlyNoted(checked, index, verb, error);
    }
  }
  return numbers;
}

/**
 * Takes back a hold or a release.
 * @throws QcowalError UNDO_IMPOSSIBLE
 */
export async function undoHold(
  context: EngineContext,
  { verb, image, snapshot: wanted, tag, reason, undoes }: PlannedHoldUndo,
  options: Omit<HoldOptions, "tag">,
): Promise<AnyUndoReport> {
  const { journal, environment } = context;
  const started = environment.now();
  const checked = await checkHolds(journal, environment, [image], verb, { id: wanted.id }, tag).catch(
    (error: unknown) => {
      const isChanged =
        isQcowalError(error, "SNAPSHOT_NOT_HELD") || isQcowalError(error, "SNAPSHOT_NOT_FOUND");
      throw isChanged ? undoImpossible(undoes, `by now it is otherwise: ${reasonOf(error)}`) : error;
    },
  );
  if (!checked.every(({ snapshot }) => isSameSnapshot(snapshot, wanted))) {
    throw undoImpossible(undoes, `${image} no longer has the snapshot ${JSON.stringify(wanted.name)}`);
  }
  if (options.dryRun === true) return { dryRun: true, images: [], hold: { verb, ...reportOf(checked, tag) } };
  const how = { ...given({ reason }), ...options, undoes };
  const numbers = await noted(context, checked, verb, tag, how);
  return {
    transaction: numbers[0] ?? undoes,
    journal: journal.dir,
    images: [],
    recovered: [],
    durationMs: environment.now() - started,
    hold: { verb, ...reportOf(checked, tag, numbers) },
  };
}

/**
 * What `pool.hold` and `pool.release` would record. Reads the record in
 * `journalDir` beside whoever holds it.
 * @throws what they throw, and QcowalError as `openHistory`
 */
export async function planHold(
  journalDir: string,
  verb: HoldVerb,
  images: readonly string[],
  snapshot: SnapshotRef,
  options: HoldOptions = {},
): Promise<HoldReport> {
  const tag = tagOf(options);
  const environment = realEnvironment(defaultProgram());
  const paths = await Promise.all(images.map((image) => resolvedPath(image)));
  const journal = await journalToRead(journalDir);
  try {
    const checked = await checkHolds(journal ?? journalDir, environment, paths, verb, snapshot, tag);
    return reportOf(checked, tag);
  } finally {
    await journal?.close();
  }
}

function tagOf({ tag = DEFAULT_TAG }: HoldOptions): string {
  if (typeof tag === "string" && tag !== "" && tag.length <= MAX_TAG_LENGTH) return tag;
  throw new TypeError(`a tag has 1 to ${MAX_TAG_LENGTH} characters`);
}

async function checkHolds(
  journal: JournalReader | string,
  environment: Environment,
  paths: readonly string[],
  verb: HoldVerb,
  ref: SnapshotRef,
  tag: string,
): Promise<CheckedHold[]> {
  const checked: CheckedHold[] = [];
  for (const path of new Set(paths)) {
    const compared = await compareWithRecord(journal, environment, path);
    const snapshot = selected(path, compared.status.snapshots, selection(ref));
    if (verb === "release") await assertHeld(journal, compared, snapshot, tag);
    checked.push({ ...compared, snapshot });
  }
  return checked;
}

async function assertHeld(
  journal: JournalReader | string,
  { status: { image: path, observed } }: Compared,
  snapshot: SnapshotFacts,
  tag: string,
): Promise<void> {
  const nodes = typeof journal === "string" ? [] : await nodesBehind(journal, path, observed);
  const node = nodes.find((one) => isSameSnapshot(one.snapshot, snapshot));
  const tags = node?.holds?.map((hold) => hold.tag) ?? [];
  if (tags.includes(tag)) return;
  const known = tags.length === 0 ? "Nobody holds it" : `It is held as ${tags.join(", ")}`;
  throw new QcowalError(
    "SNAPSHOT_NOT_HELD",
    `${path}: snapshot ${JSON.stringify(snapshot.name)} is not held as ${tag}. ${known}. Nothing was changed.`,
    { details: { path, tags } },
  );
}

/** `numbers` of the records, where there are any: else it is a dry run. */
const reportOf = (checked: readonly CheckedHold[], tag: string, numbers?: readonly number[]): HoldReport => ({
  dryRun: numbers === undefined,
  tag,
  images: checked.map(({ status, snapshot }, index) => ({
    image: status.image,
    snapshot,
    ...given({ transaction: numbers?.[index] }),
  })),
});

/** The same again is the same hold, but nobody should have to guess. */
function partlyNoted(
  checked: readonly CheckedHold[],
  done: number,
  verb: HoldVerb,
  cause: unknown,
): QcowalError {
  const names = checked.map(({ status }) => status.image);
  return new QcowalError(
    isQcowalError(cause) ? cause.code : "IO_FAILED",
    `The journal took the ${verb} of ${names.slice(0, done).join(", ")}, but not of ${names.slice(done).join(", ")}: ${reasonOf(cause)}`,
    { cause },
  );
}

/** Synced: what is held must not be deleted after a power cut. */
const note = (journal: Journal, body: NoteBody): Promise<number> =>
  journal.note(body, topicsOf({ kind: "note", body }), true);

function selected(
  path: string,
  snapshots: readonly SnapshotFacts[],
  wanted: { readonly name: string } | { readonly id: string },
): SnapshotFacts {
  const found = snapshots.filter((one) => ("id" in wanted ? one.id === wanted.id : one.name === wanted.name));
  const what = "id" in wanted ? `id ${wanted.id}` : JSON.stringify(wanted.name);
  const [only] = found;
  if (only === undefined) {
    throw new QcowalError(
      "SNAPSHOT_NOT_FOUND",
      `${path} has no snapshot ${what}. Nothing was changed; 'qcowal list' shows those it has.`,
    );
  }
  if (found.length > 1) {
    throw new QcowalError(
      "SNAPSHOT_AMBIGUOUS",
      `${path} has ${found.length} snapshots ${what}. Nothing was changed; select one by id: ${found.map(({ id }) => `id:${id}`).join(", ")}.`,
    );
  }
  return only;
}
