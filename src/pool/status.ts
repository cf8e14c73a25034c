import type { JournalReader } from "../../journal/index.ts";
import type { OpenDisk } from "../disk/index.ts";
import { type Environment, type Observation, type Seen, identityOf, observe } from "../engine/index.ts";
import { type FenceOwner, fenceOwner } from "../format/index.ts";
import { type HistoryEntry, entryAt } from "../history/index.ts";
import { type SnapshotFacts, readHead, readSnapshotTable, snapshotFacts } from "../image/index.ts";

export interface StatusOptions {
  /** Take no lock, as `qemu-img -U`: works beside a running VM, the answer may be out of date at once. */
  readonly forceShare?: boolean;
}

/** Whether an image is what the record says of it. */
export interface ImageStatus {
  /** Path of the image with links resolved. */
  readonly image: string;
  /** Directory of the journal that was asked. */
  readonly journal: string;
  /** False: the record knows nothing of this image. */
  readonly recorded: boolean;
  /** The image is in the record, stands as recorded, and nothing interrupted holds it. */
  readonly matches: boolean;
  /** What the image shows that the record does not know. */
  readonly observed?: Observation;
  /** An interrupted operation holds the image, and which journal can finish it, where the header says so. */
  readonly interrupted?: { readonly owner?: FenceOwner };
  /** The newest that the record has of it. */
  readonly newest?: HistoryEntry;
  /** The snapshots that it has now. */
  readonly snapshots: readonly SnapshotFacts[];
}

/** What was compared, for whoever wants to record it. */
export interface Compared {
  readonly status: ImageStatus;
  readonly seen: Seen;
}

/**
 * Compares an image with the record; the path of a journal that is not there is a
 * record that knows nothing. Writes nothing.
 * @throws QcowalError IMAGE_NOT_FOUND, IMAGE_IN_USE, IMAGE_NOT_QCOW2, IMAGE_INVALID, IMAGE_UNSUPPORTED, JOURNAL_DAMAGED
 */
export async function compareWithRecord(
  journal: JournalReader | string,
  environment: Pick<Environment, "fileId" | "resolvePath"> & { readonly openDisk: OpenDisk },
  path: string,
  { forceShare = false }: StatusOptions = {},
): Promise<Compared> {
  const image = await environment.resolvePath(path);
  const disk = await environment.openDisk(image, forceShare ? "read-unlocked" : "read");
  try {
    const head = await readHead(disk);
    const { snapshots } = await readSnapshotTable(disk, head.header);
    const seen: Seen = {
      identity: identityOf(image, await environment.fileId(image), head),
      entries: snapshots.map(({ entry }) => entry),
    };
    const isThere = typeof journal !== "string";
    const observed = isThere ? await observe(journal, environment, seen) : undefined;
    const newest = isThere ? await newestOf(journal, image) : undefined;
    const recorded = newest !== undefined || (observed !== undefined && observed.what !== "first seen");
    const owner = head.header.fenced ? fenceOwner(head.area) : undefined;
    const status: ImageStatus = {
      image,
      journal: isThere ? journal.dir : journal,
      recorded,
      matches: recorded && observed === undefined && !head.header.fenced,
      ...(observed === undefined ? {} : { observed }),
      ...(head.header.fenced ? { interrupted: owner === undefined ? {} : { owner } } : {}),
      ...(newest === undefined ? {} : { newest }),
      snapshots: seen.entries.map(snapshotFacts),
    };
    return { status, seen };
  } finally {
    await disk.close();
  }
}

async function newestOf(journal: JournalReader, image: string): Promise<HistoryEntry | undefined> {
  for await (const number of journal.transactionsOf(image, { reverse: true }))
    return entryAt(journal, number);
  return undefined;
}
