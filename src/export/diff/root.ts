import type { Disk } from "../../disk/index.ts";
import { QcowalError } from "../../errors/index.ts";
import { fencedError } from "../../engine/index.ts";
import { type Header, u64ToNumber } from "../../format/index.ts";
import {
  type Image,
  type ImageHead,
  type L1Location,
  type Snapshot,
  checkL1Location,
  readSnapshotTable,
  shortNames,
  snapshotLabel,
} from "../../image/index.ts";
import { selectSnapshot } from "../../plan/index.ts";
import { WatchedDisk, readSteadily } from "../watched-disk.ts";

/** A state of the guest's disk: a snapshot, or the active layer. */
export interface DiffSide {
  /** Null for the active layer. A name that exceeds QEMU's limit is cut short. */
  readonly snapshot: { readonly id: string; readonly name: string } | null;
  /** Size of the disk in it, in bytes. */
  readonly size: number;
}

/** The same with its mapping. */
export interface Root extends DiffSide {
  readonly l1: L1Location;
  /** As it is stored; undefined for the active layer. */
  readonly stored: Snapshot | undefined;
}

/** A snapshot by its exact name, or by `{ id }`. */
export type SnapshotRef = string | { readonly id: string };

/** An image of which some states are looked at. */
export interface OpenedRoots<Roots> {
  /** What the tables are read from; ends with the file that was handed in. */
  readonly disk: Disk;
  readonly image: Image;
  readonly roots: Roots;
}

/**
 * Opens what `choose` picks of an image's states. Of a file that was opened without
 * locks, reading fails once one of them is not there any more: see `WatchedDisk`.
 * @throws QcowalError NEEDS_RECOVERY for a fenced image, IMAGE_UNSUPPORTED, IMAGE_INVALID, and what `choose` throws
 */
export async function openRoots<Roots extends readonly Root[] | Readonly<Record<string, Root | undefined>>>(
  file: Disk,
  isLocked: boolean,
  choose: (image: Image) => Roots,
): Promise<OpenedRoots<Roots>> {
  const { image, roots } = await readSteadily(file, isLocked, async (head) => {
    const found = await statesOf(file, head);
    return { image: found, roots: choose(found) };
  });
  if (isLocked) return { disk: file, image, roots };
  const chosen = Object.values(roots).filter((root) => root !== undefined);
  const disk = await WatchedDisk.open(file, image, {
    active: chosen.some(({ stored }) => stored === undefined),
    snapshots: chosen.flatMap(({ stored }) => (stored === undefined ? [] : [stored])),
  });
  return { disk, image, roots };
}

/** @throws QcowalError NEEDS_RECOVERY for a fenced image, IMAGE_UNSUPPORTED, IMAGE_INVALID */
async function statesOf(disk: Disk, head: ImageHead): Promise<Image> {
  if (head.header.fenced) throw await fencedError(disk.path, head);
  if (head.header.externalDataFile) {
    throw new QcowalError(
      "IMAGE_UNSUPPORTED",
      `${disk.path} keeps its data in another file, which goes with no snapshots. Nothing was changed.`,
    );
  }
  return { ...head, disk, snapshotTable: await readSnapshotTable(disk, head.header) };
}

/** @throws QcowalError SNAPSHOT_NOT_FOUND, SNAPSHOT_AMBIGUOUS, IMAGE_INVALID */
export function rootOf(image: Image, ref: SnapshotRef | undefined): Root {
  if (ref === undefined) return activeRoot(image.header);
  const selection = typeof ref === "string" ? { name: ref } : ref;
  return snapshotRoot(
    image.header,
    selectSnapshot(image.disk.path, image.snapshotTable.snapshots, selection),
  );
}

export function activeRoot({ virtualSize, l1TableOffset, l1Size }: Header): Root {
  const l1 = { offset: l1TableOffset, entries: l1Size };
  return { snapshot: null, size: virtualSize, l1, stored: undefined };
}

export function snapshotRoot({ geometry, virtualSize }: Header, snapshot: Snapshot): Root {
  const { entry } = snapshot;
  const label = snapshotLabel(snapshot);
  const size = entry.diskSize === undefined ? virtualSize : u64ToNumber(entry.diskSize);
  if (size === undefined) {
    throw new QcowalError(
      "IMAGE_INVALID",
      `${label}: its disk size is out of range. Nothing was changed; 'qcowal check' says more.`,
    );
  }
  return {
    snapshot: shortNames(entry),
    size,
    l1: checkL1Location(geometry, entry.l1TableOffset, entry.l1Size, label),
    stored: snapshot,
  };
}
