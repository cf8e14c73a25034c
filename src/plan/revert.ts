import { QcowalError } from "../errors/index.ts";
import {
  type Geometry,
  MAX_L1_ENTRIES,
  type SnapshotEntry,
  guestOffset,
  l1EntriesFor,
  u64ToNumber,
} from "../format/index.ts";
import { snapshotFacts, toSnapshot } from "../image/index.ts";
import { type Draft, type DraftSnapshot, copiedRoot, withRoot } from "./draft.ts";
import type { RevertOperation } from "./operation.ts";
import { selectSnapshot } from "./select-snapshot.ts";
import type { Step } from "./step.ts";

/** `bitmaps` are the names of those that the image has, read for an operation that may drop them. */
export function revert(
  draft: Draft,
  operation: RevertOperation,
  geometry: Geometry,
  bitmaps: readonly string[],
): Step {
  if (draft.bitmaps > 0 && operation.dropBitmaps !== true) {
    // They record which guest data changed since a backup; after a revert they would lie, and the next backup with them.
    throw new QcowalError(
      "IMAGE_UNSUPPORTED",
      `${operation.image} has ${draft.bitmaps} persistent bitmap(s), which a revert would make wrong. Nothing was changed; let the revert drop them ('qcowal revert --drop-bitmaps'), or remove them first ('qemu-img bitmap --remove').`,
    );
  }
  const target = selectSnapshot(operation.image, draft.snapshots, operation);
  const from = draft.virtualSize;
  const to = diskSizeOf(operation.image, target.entry, from);
  const needed = l1EntriesFor(geometry, to);
  if (needed > MAX_L1_ENTRIES) {
    throw new QcowalError(
      "IMAGE_INVALID",
      `${operation.image}: snapshot id ${target.id} says its disk has ${to} bytes, more than an L1 table can map. Nothing was changed.`,
    );
  }
  return {
    draft: {
      virtualSize: guestOffset(to),
      active: copiedRoot(target.root, needed),
      snapshots: to === from ? draft.snapshots : draft.snapshots.map((snapshot) => pinned(snapshot, from)),
      bitmaps: 0,
    },
    outcome: {
      type: "revert",
      snapshot: snapshotFacts(target.entry),
      ...(to === from ? {} : { resized: { from, to } }),
      ...(draft.bitmaps === 0 ? {} : { droppedBitmaps: bitmaps }),
    },
  };
}

function diskSizeOf(image: string, entry: SnapshotEntry, today: number): number {
  const size = entry.diskSize === undefined ? today : u64ToNumber(entry.diskSize);
  if (size === undefined) {
    throw new QcowalError(
      "IMAGE_INVALID",
      `${image}: a snapshot's disk size is out of range. Nothing was changed.`,
    );
  }
  return size;
}

/** An entry without a disk size means "today's": before today's changes, it is written down. */
export function pinned(snapshot: DraftSnapshot, size: number): DraftSnapshot {
  if (snapshot.entry.diskSize !== undefined) return snapshot;
  return withRoot(toSnapshot({ ...snapshot.entry, diskSize: BigInt(size) }), snapshot.root);
}
