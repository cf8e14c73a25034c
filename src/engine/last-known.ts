import type { JournalReader, RecordKind } from "../../journal/index.ts";
import { type EndBody, decodeBegun, decodeNote } from "./bodies.ts";
import type { ImageIdentity } from "./identity.ts";

/** What the record knows of an image, as of its newest transaction or note that tells. */
export interface Known {
  /** Number of that transaction or note. */
  readonly transaction: number;
  readonly identity: ImageIdentity;
  /** `tableDigest` of its snapshots; undefined when the record cannot tell. */
  readonly digest: string | undefined;
}

/** The plan of a transaction says nothing of what an image was or is. */
const TELLING = ["begun", "settled", "aborted", "note"] as const satisfies readonly RecordKind[];

/** What the newest records under `topic` say of the image of theirs that `wanted` picks. */
export async function lastKnown(
  journal: JournalReader,
  topic: string,
  wanted: (image: ImageIdentity) => boolean,
): Promise<Known | undefined> {
  for await (const number of journal.transactionsOf(topic, { reverse: true })) {
    const known = await knownAfter(journal, number, wanted);
    if (known !== undefined) return known;
  }
  return undefined;
}

/** What one transaction or note says of such an image, if it says anything. */
export async function knownAfter(
  journal: JournalReader,
  number: number,
  wanted: (image: ImageIdentity) => boolean,
): Promise<Known | undefined> {
  let identity: ImageIdentity | undefined;
  let before: string | undefined;
  let after: string | undefined;
  for (const { kind, body } of await journal.recordsOf(number, TELLING)) {
    if (kind === "note") return ofNote(number, body, wanted);
    if (kind === "begun") {
      const { images } = decodeBegun(body);
      const image = images.find(wanted);
      if (image === undefined) return undefined;
      identity = image;
      before = image.digest;
      after = image.digestAfter;
    }
    if (kind === "settled" || kind === "aborted") {
      const { doubt } = body as EndBody;
      if (identity === undefined) return undefined;
      const digest = doubt === undefined ? (kind === "settled" ? after : before) : undefined;
      return { transaction: number, identity, digest };
    }
  }
  // Pending: recovery comes before anybody looks.
  return identity && { transaction: number, identity, digest: undefined };
}

function ofNote(
  transaction: number,
  body: unknown,
  wanted: (image: ImageIdentity) => boolean,
): Known | undefined {
  const note = decodeNote(body);
  // A hold says nothing of what there is: that was noted before it, where it was news.
  if (
    note === undefined ||
    note.type === "refused" ||
    note.type === "held" ||
    note.type === "released" ||
    !wanted(note.image)
  )
    return undefined;
  if (note.type === "made") return { transaction, identity: note.image, digest: note.image.digestAfter };
  // After a repair by a scan nobody knows whether the interrupted transaction came to its end.
  const digest = note.type === "observed" ? note.observed.digest : undefined;
  return { transaction, identity: note.image, digest };
}
