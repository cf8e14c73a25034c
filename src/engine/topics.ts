import type { FileId } from "./options.ts";
import { NO_SNAPSHOTS, type Observation } from "./observation.ts";

/** What records of an image are found by again: its path, its file, and the snapshots that it had. */
export const fileTopic = ({ inode, born }: FileId): string => `file ${inode} ${born ?? ""}`;
export const snapshotsTopic = (digest: string): string => `snapshots ${digest}`;

/** Under it is where a file that had another path was found at this one. */
export const comingTopic = (path: string): string => `coming ${path}`;

/** A path is absolute, so it is never one of the others. */
export const isPathTopic = (topic: string): boolean => topic.startsWith("/");

export interface Indexed extends FileId {
  readonly path: string;
  /** `tableDigest` before and after, as far as it is known. */
  readonly digests: readonly (string | undefined)[];
  readonly observed?: Observation;
}

export function topicsOf(images: readonly Indexed[]): string[] {
  const topics = images.flatMap(({ path, digests, observed, ...file }) => [
    path,
    fileTopic(file),
    ...(observed?.from === undefined ? [] : [comingTopic(path)]),
    ...[...digests, observed?.digest].flatMap((digest) =>
      digest === undefined || digest === NO_SNAPSHOTS ? [] : [snapshotsTopic(digest)],
    ),
  ]);
  return [...new Set(topics)];
}
