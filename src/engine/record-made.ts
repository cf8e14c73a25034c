import type { SnapshotEntry } from "../format/index.ts";
import { type Image, snapshotFacts } from "../image/index.ts";
import type { JournaledOperation, OperationOutcome } from "../plan/index.ts";
import type { Actor } from "./actor.ts";
import type { MadeBody } from "./bodies.ts";
import type { EngineContext } from "./context.ts";
import { identityOf } from "./identity.ts";
import { tableDigest } from "./observation.ts";
import { observe } from "./observe.ts";
import { topicsOf } from "./topics.ts";

export interface Made {
  readonly operations: readonly JournaledOperation[];
  readonly actor: Actor;
  readonly reason?: string | undefined;
  /** When it was asked for, in milliseconds since 1970. */
  readonly asked: number;
}

/** Records an image that has just got its name, and what it was made of. No transaction: without it there was nothing that could be half changed. */
export async function recordMade(
  { journal, environment }: EngineContext,
  image: Image,
  { operations, actor, reason, asked }: Made,
): Promise<number> {
  const { path } = image.disk;
  const identity = identityOf(path, await environment.fileId(path), image);
  const entries = image.snapshotTable.snapshots.map(({ entry }) => entry);
  // What another file at this path had is gone with it.
  const observed = await observe(journal, environment, { identity, entries: [] });
  const body: MadeBody = {
    type: "made",
    image: {
      ...identity,
      digestAfter: tableDigest(entries),
      ...(observed === undefined ? {} : { observed }),
    },
    operations,
    outcomes: operations.flatMap((operation) => outcomesOf(operation, entries)),
    actor,
    ...(reason === undefined ? {} : { reason }),
    asked,
  };
  return journal.note(body, topicsOf({ kind: "note", body }));
}

function outcomesOf(operation: JournaledOperation, entries: readonly SnapshotEntry[]): OperationOutcome[] {
  if (operation.type === "receive") {
    const { image: _, ...outcome } = operation;
    return [outcome];
  }
  return entries.map((entry) => ({ type: "create", snapshot: snapshotFacts(entry) }));
}
