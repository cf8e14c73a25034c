import { QcowalError, isQcowalError } from "../errors/index.ts";
import {
  type Image,
  type L1Location,
  type Snapshot,
  checkL1Location,
  readL1Table,
  snapshotLabel,
} from "../image/index.ts";

export interface ReadableSnapshot {
  readonly snapshot: Snapshot;
  readonly l1: L1Location;
  /** True when a COPIED flag is set in its L1 table. The tables themselves may be large, and are read again. */
  readonly hasFlags: boolean;
}

export interface ReadableSnapshots {
  readonly readable: readonly ReadableSnapshot[];
  /** Snapshots whose L1 table is out of place or makes no sense, and why. */
  readonly damaged: readonly { readonly snapshot: Snapshot; readonly why: string }[];
}

/**
 * Tells the snapshots that can be counted from those that cannot. What only one
 * of the latter refers to looks leaked, and is not: it must not be freed unless
 * somebody gives the snapshot up.
 */
export async function readableSnapshots(image: Image): Promise<ReadableSnapshots> {
  const { disk, header, snapshotTable, fileSize } = image;
  const readable: ReadableSnapshot[] = [];
  let bytes = 0;
  const damaged: { snapshot: Snapshot; why: string }[] = [];
  for (const snapshot of snapshotTable.snapshots) {
    const { l1TableOffset, l1Size } = snapshot.entry;
    const name = snapshotLabel(snapshot);
    try {
      const location = checkL1Location(header.geometry, l1TableOffset, l1Size, name);
      if (location.entries > 0 && location.offset + location.entries * 8 > fileEnd(fileSize)) {
        damaged.push({ snapshot, why: `${name}: its L1 table reaches behind the end of the file` });
        continue;
      }
      bytes += location.entries * 8;
      // They cannot all be in it unless they overlap, and thousands of them would be read for nothing.
      if (bytes > MOST_OF_FILE * fileEnd(fileSize)) break;
      const { copied } = await readL1Table(disk, header.geometry, location);
      readable.push({ snapshot, l1: location, hasFlags: copied.includes(1) });
    } catch (error) {
      if (!isQcowalError(error, "IMAGE_INVALID")) throw error;
      const [why = ""] = error.message.split(". ");
      damaged.push({ snapshot, why: why.startsWith(name) ? why : `${name}: ${why}` });
    }
  }
  if (bytes > MOST_OF_FILE * fileEnd(fileSize)) {
    throw new QcowalError(
      "IMAGE_INVALID",
      `${disk.path}: the L1 tables of ${snapshotTable.snapshots.length} snapshots overlap, for they claim more than the file has. Nothing was changed; restore the image from a copy.`,
    );
  }
  return { readable, damaged };
}

/** One damaged snapshot may claim all of the file for its table, beside the others. */
const MOST_OF_FILE = 2;

/** A table may end in the middle of the file's last sector. */
const SECTOR = 512;
const fileEnd = (fileSize: number): number => Math.ceil(fileSize / SECTOR) * SECTOR;
