import type { Disk } from "../disk/index.ts";
import { type FenceOwner, SECTOR_SIZE, fenceOwner, fencePatches } from "../format/index.ts";
import type { ImageHead } from "../image/index.ts";
import { type HeaderIntent, applyIntent, reversed } from "../intent/index.ts";
import type { FenceState } from "./recovery-table.ts";

/** The intent that fences an image for `owner`. */
export function fenceIntent({ header, area, cluster }: ImageHead, owner: FenceOwner): HeaderIntent {
  return { kind: "header", patches: fencePatches(header, area, cluster, owner) };
}

/** Removes the fence and restores the header's bytes exactly. Pending until a sync. */
export async function unfence(disk: Disk, fence: HeaderIntent): Promise<void> {
  await applyIntent(disk, reversed(fence));
}

/** Whose fence the image carries. One that names nobody is taken for `owner`'s: the image's bytes are judged next. */
export function fenceState({ header, area }: ImageHead, owner: FenceOwner): FenceState {
  if (!header.fenced) return "absent";
  const named = fenceOwner(area);
  const ours =
    named === undefined || (named.journalId === owner.journalId && named.transaction === owner.transaction);
  return ours ? "present" : "other";
}

/**
 * Clears what is left of a fence whose mark is already gone, or was never
 * written: the explanation behind the END marker goes to disk in the same sync
 * as the mark, and a power cut may keep one without the other. Only sectors
 * that hold exactly our bytes are touched; returns true when there were any.
 */
export async function tidyFence(disk: Disk, fence: HeaderIntent): Promise<boolean> {
  // The last patch is the mark itself.
  let found = false;
  for (const { offset, before, after } of fence.patches.slice(0, -1)) {
    for (let at = 0; at < after.length;) {
      const end = Math.min(after.length, SECTOR_SIZE - ((offset + at) % SECTOR_SIZE) + at);
      const ours = after.subarray(at, end);
      const shown = new Uint8Array(ours.length);
      await disk.read(offset + at, shown);
      if (Buffer.compare(shown, ours) === 0 && Buffer.compare(ours, before.subarray(at, end)) !== 0) {
        await disk.write(offset + at, before.subarray(at, end));
        found = true;
      }
      at = end;
    }
  }
  return found;
}
