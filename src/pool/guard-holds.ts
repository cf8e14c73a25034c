import type { JournalReader } from "../../journal/index.ts";
import {
  type Environment,
  type Guard,
  HOLDS_TOPIC,
  type PlannedImage,
  identityOf,
  observe,
} from "../engine/index.ts";
import { QcowalError } from "../errors/index.ts";
import type { SnapshotNode } from "../history/index.ts";
import { type Image, factsOf, snapshotFacts } from "../image/index.ts";
import { simpleOperations } from "../plan/index.ts";
import { isSameSnapshot, nodesBehind } from "./recorded-tree.ts";

/** Refuses to delete, or to give up, what somebody holds. Costs nothing where the record has no hold at all. */
export function guardHolds(journal: JournalReader, environment: Pick<Environment, "fileId">): Guard {
  return {
    async planned(images) {
      if (!(await hasHolds(journal))) return;
      for (const planned of images) {
        const { image, plan } = planned;
        if (plan.outcomes.every(({ type }) => type !== "delete" && type !== "repair")) continue;
        const held = await heldNodes(journal, environment, image);
        if (held.length === 0) continue;
        refuseDeletes(planned, held);
        refuseRepair(planned, held);
      }
    },
  };
}

async function hasHolds(journal: JournalReader): Promise<boolean> {
  for await (const _ of journal.transactionsOf(HOLDS_TOPIC, { reverse: true })) return true;
  return false;
}

async function heldNodes(
  journal: JournalReader,
  environment: Pick<Environment, "fileId">,
  image: Image,
): Promise<SnapshotNode[]> {
  const { path } = image.disk;
  const identity = identityOf(path, await environment.fileId(path), image);
  const entries = image.snapshotTable.snapshots.map(({ entry }) => entry);
  const observed = await observe(journal, environment, { identity, entries });
  return (await nodesBehind(journal, path, observed)).filter(({ holds }) => holds !== undefined);
}

function refuseDeletes({ image, operations, plan }: PlannedImage, held: readonly SnapshotNode[]): void {
  const each = operations.flatMap((operation) => simpleOperations(operation));
  for (const [index, outcome] of plan.outcomes.entries()) {
    const operation = each[index];
    if (outcome.type !== "delete" || operation?.type !== "delete" || operation.evenIfHeld === true) continue;
    const node = held.find(({ snapshot }) => isSameSnapshot(snapshot, outcome.snapshot));
    if (node === undefined) continue;
    throw heldError(image, node, ["is held", "'qcowal delete --even-if-held'"]);
  }
}

/** What is damaged has no entry afterwards; what cannot even be read may be any that the record knows. */
function refuseRepair({ image, operations, plan }: PlannedImage, held: readonly SnapshotNode[]): void {
  const [operation] = operations;
  const [outcome] = plan.outcomes;
  if (operation?.type !== "repair" || outcome?.type !== "repair" || operation.evenIfHeld === true) return;
  const { snapshotsDropped, snapshotEntriesLost } = outcome.mended;
  if (snapshotsDropped.length + snapshotEntriesLost === 0) return;
  const before = factsOf(image);
  const after = (plan.snapshots ?? []).map(snapshotFacts);
  const lost = held.find(({ snapshot, gone }) => {
    const isIt = (other: (typeof after)[number]): boolean => isSameSnapshot(snapshot, other);
    return !after.some(isIt) && (before.some(isIt) || (snapshotEntriesLost > 0 && gone === undefined));
  });
  if (lost === undefined) return;
  throw heldError(image, lost, [
    "is damaged and would be given up, but is held",
    "'qcowal repair --drop-damaged-snapshots --even-if-held'",
  ]);
}

function heldError(
  { disk: { path } }: Image,
  { snapshot, holds = [] }: SnapshotNode,
  [state, override]: readonly [state: string, override: string],
): QcowalError {
  const tags = holds.map(({ tag }) => tag);
  const who = holds.map(({ tag, actor, reason }) => {
    const name = actor === undefined ? "" : ` by ${actor.name ?? actor.user}`;
    return `${tag}${name}${reason === undefined ? "" : ` (${JSON.stringify(reason)})`}`;
  });
  return new QcowalError(
    "SNAPSHOT_HELD",
    `${path}: snapshot ${JSON.stringify(snapshot.name)} (id ${snapshot.id}) ${state}: ${who.join(", ")}. Nothing was changed; 'qcowal release' lets it go, ${override} overrides it.`,
    { details: { path, id: snapshot.id, name: snapshot.name, tags } },
  );
}
