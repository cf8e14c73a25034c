import type { Journal, JournalReader } from "../../journal/index.ts";
import {
  type EngineContext,
  type Environment,
  type Guard,
  HOLDS_TOPIC,
  type HoldBody,
  type NoteBody,
  currentActor,
  identityOf,
  observe,
  topicsOf,
} from "../engine/index.ts";
import { QcowalError, isQcowalError } from "../errors/index.ts";
import type { SnapshotNode } from "../history/index.ts";
import type { Image, SnapshotFacts } from "../image/index.ts";
import { HistoryReader } from "./history-reader.ts";
import { compareWithRecord } from "./status.ts";

export interface HoldOptions {
  /** Several may hold one snapshot, each under a tag of its own. Default: `hold`. */
  readonly tag?: string;
  readonly actor?: string;
  readonly reason?: string;
}

const DEFAULT_TAG = "hold";
const MAX_TAG_LENGTH = 255;

/** Refuses to delete what somebody holds. Costs nothing where the record has no hold at all. */
export function guardHolds(journal: JournalReader, environment: Pick<Environment, "fileId">): Guard {
  return {
    async planned(images) {
      if (!(await hasHolds(journal))) return;
      for (const { image, operations, plan } of images) {
        if (plan.outcomes.every(({ type }) => type !== "delete")) continue;
        const { path } = image.disk;
        const held = await heldNodes(journal, environment, image);
        for (const [index, outcome] of plan.outcomes.entries()) {
          const operation = operations[index];
          if (outcome.type !== "delete" || operation?.type !== "delete" || operation.evenIfHeld === true)
            continue;
          const node = held.find(({ snapshot }) => isSameSnapshot(snapshot, outcome.snapshot));
          if (node !== undefined) throw heldError(path, node);
        }
      }
    },
  };
}

/** A file that has just been found at its path brings its holds along. */
async function heldNodes(
  journal: JournalReader,
  environment: Pick<Environment, "fileId">,
  image: Image,
): Promise<SnapshotNode[]> {
  const { path } = image.disk;
  const identity = identityOf(path, await environment.fileId(path), image);
  const entries = image.snapshotTable.snapshots.map(({ entry }) => entry);
  const observed = await observe(journal, environment, { identity, entries });
  const isSame = observed?.what === "moved" || observed?.what === "linked";
  const paths = isSame && observed.from !== undefined ? [path, observed.from] : [path];
  return (await Promise.all(paths.map((one) => nodesOf(journal, one))))
    .flat()
    .filter(({ holds }) => holds !== undefined);
}

async function hasHolds(journal: JournalReader): Promise<boolean> {
  for await (const _ of journal.transactionsOf(HOLDS_TOPIC, { reverse: true })) return true;
  return false;
}

function heldError(path: string, { snapshot, holds = [] }: SnapshotNode): QcowalError {
  const tags = holds.map(({ tag }) => tag);
  const who = holds.map(({ tag, actor, reason }) => {
    const name = actor === undefined ? "" : ` by ${actor.name ?? actor.user}`;
    return `${tag}${name}${reason === undefined ? "" : ` (${JSON.stringify(reason)})`}`;
  });
  return new QcowalError(
    "SNAPSHOT_HELD",
    `${path}: snapshot ${JSON.stringify(snapshot.name)} (id ${snapshot.id}) is held: ${who.join(", ")}. Nothing was changed; 'qcowal release' lets it go, 'qcowal delete --even-if-held' overrides it.`,
    { details: { path, id: snapshot.id, name: snapshot.name, tags } },
  );
}

/** An id may be given again, and a name be changed: the date, to the nanosecond, is neither. */
const isSameSnapshot = (one: SnapshotFacts, other: SnapshotFacts): boolean =>
  one.id === other.id && one.dateSec === other.dateSec && one.dateNsec === other.dateNsec;

async function nodesOf(journal: JournalReader, path: string): Promise<readonly SnapshotNode[]> {
  try {
    return (await new HistoryReader(journal).tree(path)).nodes;
  } catch (error) {
    if (isQcowalError(error, "NOT_RECORDED")) return [];
    throw error;
  }
}

/**
 * Records that a snapshot is held or released.
 * @throws QcowalError SNAPSHOT_NOT_FOUND, SNAPSHOT_AMBIGUOUS, SNAPSHOT_NOT_HELD, NEEDS_RECOVERY, IMAGE_NOT_FOUND, IMAGE_IN_USE
 */
export async function noteHold(
  { journal, environment }: EngineContext,
  [path = ""]: readonly string[],
  type: HoldBody["type"],
  selection: { readonly name: string } | { readonly id: string },
  { tag = DEFAULT_TAG, actor: name, reason }: HoldOptions,
): Promise<void> {
  if (typeof tag !== "string" || tag === "" || tag.length > MAX_TAG_LENGTH) {
    throw new TypeError(`a tag has 1 to ${MAX_TAG_LENGTH} characters`);
  }
  const { status, seen } = await compareWithRecord(journal, environment, path);
  const snapshot = selected(path, status.snapshots, selection);
  const actor = currentActor(environment.program, name);
  if (type === "released") {
    const node = (await nodesOf(journal, path)).find((one) => isSameSnapshot(one.snapshot, snapshot));
    const tags = node?.holds?.map((hold) => hold.tag) ?? [];
    if (!tags.includes(tag)) {
      const known = tags.length === 0 ? "Nobody holds it" : `It is held as ${tags.join(", ")}`;
      throw new QcowalError(
        "SNAPSHOT_NOT_HELD",
        `${path}: snapshot ${JSON.stringify(snapshot.name)} is not held as ${tag}. ${known}. Nothing was changed.`,
        { details: { path, tags } },
      );
    }
  }
  // A hold is one of a snapshot that the record knows.
  if (status.observed !== undefined) {
    await note(journal, { type: "observed", image: seen.identity, observed: status.observed, actor });
  }
  await note(journal, {
    type,
    image: seen.identity,
    snapshot,
    tag,
    actor,
    ...(reason === undefined ? {} : { reason }),
  });
}

const note = (journal: Journal, body: NoteBody): Promise<unknown> =>
  journal.note(body, topicsOf({ kind: "note", body }));

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
