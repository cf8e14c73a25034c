import type { TopicsOf } from "../../journal/index.ts";
import { type BegunImage, decodeBegun, decodeNote } from "./bodies.ts";
import { NO_SNAPSHOTS } from "./observation.ts";
import type { FileId } from "./options.ts";

/** Under it is whatever a file was part of, whichever path it had. */
export const fileTopic = ({ inode, born }: FileId): string => `file ${inode} ${born ?? ""}`;

/** Under it is where an image has, or gets, the snapshots of this `tableDigest`. */
export const snapshotsTopic = (digest: string): string => `snapshots ${digest}`;

/** Under it is where a file that had another path was found at this one. */
export const comingTopic = (path: string): string => `coming ${path}`;

/** Under it is every hold: where there is none, nobody need look for one. */
export const HOLDS_TOPIC = "holds";

/** A path is absolute, so it is never one of the others. */
export const isPathTopic = (topic: string): boolean => topic.startsWith("/");

/** What a record is found by in the journal: paths, files and snapshots of its images. */
export const topicsOf: TopicsOf = ({ kind, body }) => {
  if (kind === "begun") return unique(decodeBegun(body).images.flatMap(topicsOfImage));
  const note = kind === "note" ? decodeNote(body) : undefined;
  switch (note?.type) {
    case "refused":
      return unique(note.images);
    case "repaired":
    case "made":
      return unique(topicsOfImage(note.image));
    case "observed":
      return unique(topicsOfImage({ ...note.image, observed: note.observed }));
    case "held":
    case "released":
      return unique([...topicsOfImage(note.image), HOLDS_TOPIC]);
    case undefined:
      return [];
  }
};

const unique = (topics: readonly string[]): string[] => [...new Set(topics)];

function topicsOfImage({ path, observed, digestAfter, ...file }: BegunImage): string[] {
  const digests = [observed?.digest, digestAfter].flatMap((digest) => digest ?? []);
  return [
    path,
    fileTopic(file),
    ...(observed?.from === undefined ? [] : [comingTopic(path)]),
    // That an image has none says nothing about where it comes from.
    ...digests.filter((digest) => digest !== NO_SNAPSHOTS).map(snapshotsTopic),
  ];
}
