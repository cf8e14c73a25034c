/**
 * Compares an image with what the record says of it. qcow2 knows nothing of
 * qcowal: between two operations anybody may have changed the image, moved it,
 * or put another file in its place, and only this tells.
 */
import type { JournalReader } from "../../journal/index.ts";
import type { SnapshotEntry } from "../format/index.ts";
import type { ImageIdentity } from "./identity.ts";
import { type Known, knownAfter, lastKnown } from "./last-known.ts";
import { NO_SNAPSHOTS, type Observation, listed, tableDigest } from "./observation.ts";
import type { Environment, FileId } from "./options.ts";
import { fileTopic, snapshotsTopic } from "./topics.ts";

/** An image as it is now. */
export interface Seen {
  readonly identity: ImageIdentity;
  readonly entries: readonly SnapshotEntry[];
}

const MAX_LIST_BYTES = 512 * 1024;
/**
 * Of the transactions after which an image may have had the same snapshots, so
 * many are looked at, the newest: where a thousand disks are made from one, each
 * new one would otherwise be compared with all before it.
 */
const MOST_ALIKE = 16;

/**
 * What the record does not know of an image yet; undefined when it is as
 * recorded. `images` are as many as are to fit into one record.
 */
export async function observe(
  journal: JournalReader,
  environment: Pick<Environment, "fileId">,
  { identity, entries }: Seen,
  images = 1,
): Promise<Observation | undefined> {
  const digest = tableDigest(entries);
  const known = await knownOf(journal, identity, digest);
  if (known?.identity.path === identity.path && isSameFile(known.identity, identity)) {
    if (known.digest === digest) return undefined;
  }
  return {
    ...(await explained(journal, environment, identity, digest, known)),
    ...listed(entries, Math.floor(MAX_LIST_BYTES / images)),
    digest,
  };
}

/** The same file under whatever path, else what was last at this path. */
async function knownOf(
  journal: JournalReader,
  identity: ImageIdentity,
  digest: string,
): Promise<Known | undefined> {
  const sameFile = await lastKnown(journal, fileTopic(identity), (image) => isSameFile(image, identity));
  // Inodes are used again: without the time at which it was made, the file has to show what it is.
  const isSure = identity.born !== undefined || sameFile?.digest === digest;
  if (sameFile !== undefined && (isSure || sameFile.identity.path === identity.path)) return sameFile;
  return lastKnown(journal, identity.path, ({ path }) => path === identity.path);
}

/**
 * The device's number may change when the machine starts again. When a file was
 * made, not every file system says, and no record of an earlier version.
 */
const isSameFile = (one: FileId, other: FileId): boolean =>
  one.inode === other.inode &&
  (one.born === undefined || other.born === undefined || one.born === other.born);

async function explained(
  journal: JournalReader,
  environment: Pick<Environment, "fileId">,
  identity: ImageIdentity,
  digest: string,
  known: Known | undefined,
): Promise<Omit<Observation, "snapshots" | "unlisted" | "digest">> {
  if (known !== undefined && isSameFile(known.identity, identity)) {
    const from = known.identity.path;
    if (from !== identity.path) {
      const there = await environment.fileId(from).catch(() => undefined);
      return { what: there !== undefined && isSameFile(there, identity) ? "linked" : "moved", from };
    }
    if (known.digest === undefined) return { what: "listed" };
    return { what: "changed", ...(await standsAt(journal, identity.path, digest)) };
  }
  if (known !== undefined) return { what: "replaced", ...(await standsAt(journal, identity.path, digest)) };
  return (await originOf(journal, environment, identity, digest)) ?? { what: "first seen" };
}

async function* newestAlike(journal: JournalReader, digest: string): AsyncGenerator<number> {
  let looked = 0;
  for await (const number of journal.transactionsOf(snapshotsTopic(digest), { reverse: true })) {
    if (looked === MOST_ALIKE) return;
    looked += 1;
    yield number;
  }
}

/** The newest transaction, of the newest few, after which the image at `path` had these snapshots. */
async function standsAt(journal: JournalReader, path: string, digest: string): Promise<{ as?: number }> {
  if (digest === NO_SNAPSHOTS) return {};
  for await (const number of newestAlike(journal, digest)) {
    const known = await knownAfter(journal, number, (image) => image.path === path);
    if (known?.digest === digest) return { as: number };
  }
  return {};
}

/** Another image that has, or had, the very same snapshots: their dates go down to the nanosecond. */
async function originOf(
  journal: JournalReader,
  environment: Pick<Environment, "fileId">,
  { path }: ImageIdentity,
  digest: string,
): Promise<Pick<Observation, "what" | "from" | "fromGone" | "as"> | undefined> {
  if (digest === NO_SNAPSHOTS) return undefined;
  for await (const as of newestAlike(journal, digest)) {
    const known = await knownAfter(journal, as, (image) => image.path !== path);
    if (known?.digest !== digest) continue;
    const from = known.identity.path;
    const isThere = await environment.fileId(from).then(
      () => true,
      () => false,
    );
    return { what: "copied", from, as, ...(isThere ? {} : { fromGone: true }) };
  }
  return undefined;
}
