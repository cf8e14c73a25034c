import { QcowalError, isQcowalError } from "../errors/index.ts";
import {
  type Image,
  type L1Location,
  type Snapshot,
  L1Reader,
  checkL1Location,
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
  const { disk, header, snapshotTable } = image;
  const readable: ReadableSnapshot[] = [];
  const damaged: { snapshot: Snapshot; why: string }[] = [];
  refuseOverlap(image);
  const reader = new L1Reader(disk, header.geometry);
  for (const snapshot of snapshotTable.snapshots) {
    const name = snapshotLabel(snapshot);
    try {
      const location = locationOf(image, snapshot);
      if (location === undefined) {
        damaged.push({ snapshot, why: `${name}: its L1 table reaches behind the end of the file` });
        continue;
      }
      const { copied } = await reader.read(location);
      readable.push({ snapshot, l1: location, hasFlags: copied.includes(1) });
    } catch (error) {
      if (!isQcowalError(error, "IMAGE_INVALID")) throw error;
      const [why = ""] = error.message.split(". ");
      damaged.push({ snapshot, why: why.startsWith(name) ? why : `${name}: ${why}` });
    }
  }
  return { readable, damaged };
}

/** Undefined for a table that reaches behind the end of the file. @throws QcowalError IMAGE_INVALID */
function locationOf({ header, fileSize }: Image, snapshot: Snapshot): L1Location | undefined {
  const { l1TableOffset, l1Size } = snapshot.entry;
  const location = checkL1Location(header.geometry, l1TableOffset, l1Size, snapshotLabel(snapshot));
  const isInFile = location.entries === 0 || location.offset + location.entries * 8 <= fileEnd(fileSize);
  return isInFile ? location : undefined;
}

/** The tables cannot all be in the file unless they overlap, and thousands of them would be read for nothing. */
function refuseOverlap(image: Image): void {
  const { disk, snapshotTable, fileSize } = image;
  let bytes = 0;
  for (const snapshot of snapshotTable.snapshots) {
    try {
      bytes += (locationOf(image, snapshot)?.entries ?? 0) * 8;
    } catch (error) {
      if (!isQcowalError(error, "IMAGE_INVALID")) throw error;
    }
  }
  if (bytes <= MOST_OF_FILE * fileEnd(fileSize)) return;
  throw new QcowalError(
    "IMAGE_INVALID",
    `${disk.path}: the L1 tables of ${snapshotTable.snapshots.length} snapshots overlap, for they claim more than the file has. Nothing was changed; restore the image from a copy.`,
  );
}

/** One damaged snapshot may claim all of the file for its table, beside the others. */
const MOST_OF_FILE = 2;

/** A table may end in the middle of the file's last sector. */
const SECTOR = 512;
const fileEnd = (fileSize: number): number => Math.ceil(fileSize / SECTOR) * SECTOR;
