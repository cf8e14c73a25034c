import type { JournalReader } from "../../journal/index.ts";
import type { Observation } from "../engine/index.ts";
import { isQcowalError } from "../errors/index.ts";
import type { SnapshotNode, SnapshotTree } from "../history/index.ts";
import type { SnapshotFacts } from "../image/index.ts";
import { HistoryReader } from "./history-reader.ts";

/** The snapshots of an image that the record knows; none of an image that it does not. */
export async function recordedTree(
  journal: JournalReader,
  path: string,
): Promise<Pick<SnapshotTree, "nodes" | "live">> {
  try {
    return await new HistoryReader(journal).tree(path);
  } catch (error) {
    if (isQcowalError(error, "NOT_RECORDED")) return { nodes: [], live: [] };
    throw error;
  }
}

/** All that the record knows of an image, also when it has just been found under another name: it brings its holds along. */
export async function nodesBehind(
  journal: JournalReader,
  path: string,
  observed: Observation | undefined,
): Promise<SnapshotNode[]> {
  const isSame = observed?.what === "moved" || observed?.what === "linked";
  const paths = isSame && observed.from !== undefined ? [path, observed.from] : [path];
  const trees = await Promise.all(paths.map((one) => recordedTree(journal, one)));
  return trees.flatMap(({ nodes }) => nodes);
}

/** An id may be given again, and a name be changed: the date, to the nanosecond, is neither. */
export const isSameSnapshot = (one: SnapshotFacts, other: SnapshotFacts): boolean =>
  one.id === other.id && one.dateSec === other.dateSec && one.dateNsec === other.dateNsec;
