import { resolvedPath } from "../../journal/index.ts";
import { QcowalError } from "../errors/index.ts";
import {
  type HistoryEntry,
  type SnapshotNode,
  type SnapshotTree,
  liveNodes,
  snapshotTree,
} from "../history/index.ts";
import type { SnapshotInfo } from "./list-snapshots.ts";
import { openHistory } from "./open-history.ts";

/** What the record adds to a list of snapshots, in the order of the list. */
export interface Lineage {
  /** What it was taken from: null for the disk without snapshots, undefined when the record does not know. */
  readonly parent: Pick<SnapshotNode["snapshot"], "id" | "name"> | null | undefined;
  /** The disk was made from it. */
  readonly isCurrent: boolean;
  /** A schedule took it. */
  readonly isAutomatic: boolean;
  /** Tags under which it is held. */
  readonly holds: readonly string[];
}

/** A list is not held up for what is only an addition to it. */
const PATIENCE_MS = 500;

/**
 * Where the snapshots of an image come from, as far as the record in `journalDir`
 * knows; undefined when it knows nothing, or cannot be read in half a second.
 */
export async function lineageOf(
  journalDir: string,
  image: string,
  snapshots: readonly SnapshotInfo[],
): Promise<Lineage[] | undefined> {
  try {
    const deadline = performance.now() + PATIENCE_MS;
    await using history = await openHistory(journalDir, { waitMs: PATIENCE_MS });
    const entries: HistoryEntry[] = [];
    for await (const entry of history.entries(image)) {
      if (performance.now() > deadline) return undefined;
      entries.push(entry);
    }
    if (entries.length === 0) return undefined;
    return lineage(snapshotTree(entries, await resolvedPath(image)), snapshots);
  } catch (error) {
    if (error instanceof QcowalError) return undefined;
    throw error;
  }
}

/** Where others were at work since, nobody knows where the disk stands. */
export function lineage(tree: SnapshotTree, snapshots: readonly SnapshotInfo[]): Lineage[] {
  const byKey = new Map(tree.nodes.map((node) => [node.key, node]));
  const live = liveNodes(tree);
  const byName = new Map(live.map((node) => [nameOf(node.snapshot), node]));
  const isAsRecorded =
    tree.unlisted === 0 &&
    live.length === snapshots.length &&
    snapshots.every((snapshot) => byName.has(nameOf(snapshot)));
  return snapshots.map((snapshot) => {
    const node = byName.get(nameOf(snapshot));
    const parent = typeof node?.parent === "string" ? byKey.get(node.parent)?.snapshot : node?.parent;
    return {
      parent: parent === null || parent === undefined ? parent : { id: parent.id, name: parent.name },
      isCurrent: isAsRecorded && node !== undefined && node.key === tree.current,
      isAutomatic: node?.auto === true,
      holds: node?.holds?.map(({ tag }) => tag) ?? [],
    };
  });
}

/** Ids are given again: the date tells one from the next. */
const nameOf = ({
  id,
  name,
  dateSec,
  dateNsec,
}: Pick<SnapshotNode["snapshot"], "id" | "name" | "dateSec" | "dateNsec">): string =>
  JSON.stringify([id, name, dateSec, dateNsec]);
