import { isQcowalError } from "../errors/index.ts";
import { type Image, type L1Table, type Snapshot, checkL1Location, readL1Table } from "../image/index.ts";

export interface ReadableSnapshots {
  readonly readable: readonly { readonly snapshot: Snapshot; readonly l1: L1Table }[];
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
  const readable: { snapshot: Snapshot; l1: L1Table }[] = [];
  const damaged: { snapshot: Snapshot; why: string }[] = [];
  for (const snapshot of snapshotTable.snapshots) {
    const { l1TableOffset, l1Size } = snapshot.entry;
    const name = `snapshot ${JSON.stringify(snapshot.name)} (id ${snapshot.id})`;
    try {
      const location = checkL1Location(header.geometry, l1TableOffset, l1Size, name);
      if (location.entries > 0 && location.offset + location.entries * 8 > fileEnd(fileSize)) {
        damaged.push({ snapshot, why: `${name}: its L1 table reaches behind the end of the file` });
      } else readable.push({ snapshot, l1: await readL1Table(disk, header.geometry, location) });
    } catch (error) {
      if (!isQcowalError(error, "IMAGE_INVALID")) throw error;
      const [why = ""] = error.message.split(". ");
      damaged.push({ snapshot, why: why.startsWith(name) ? why : `${name}: ${why}` });
    }
  }
  return { readable, damaged };
}

/** A table may end in the middle of the file's last sector. */
const SECTOR = 512;
const fileEnd = (fileSize: number): number => Math.ceil(fileSize / SECTOR) * SECTOR;
