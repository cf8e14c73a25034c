import type { Disk } from "../disk/index.ts";
import type { BytePatch } from "../format/index.ts";
import { applyIntent, reversed } from "../intent/index.ts";
import type { PreparedImage } from "./bodies.ts";
import { unfence } from "./fence.ts";

/**
 * The end of an image that is as after its transaction: patches of the header
 * extensions, if there are any, then the fence goes. Its explanation lies behind
 * the END marker, which those patches move, so it is taken off first: nobody
 * could find it any more. Pending until a sync.
 */
export async function finishHeader(
  disk: Disk,
  { fence, extensionPatches = [] }: Pick<PreparedImage, "fence" | "extensionPatches">,
): Promise<void> {
  if (extensionPatches.length > 0) {
    // The last patch is the mark itself.
    await applyPatches(disk, reversed(fence).patches.slice(0, -1));
    for (const patch of extensionPatches) await applyPatches(disk, [patch]);
  }
  await unfence(disk, fence);
}

/** Each on disk before the next thing is written. */
export async function applyPatches(disk: Disk, patches: readonly BytePatch[]): Promise<void> {
  await applyIntent(disk, { kind: "header", patches });
  await disk.sync();
}
