import type { Disk } from "../disk/index.ts";
import type { PreparedImage } from "./bodies.ts";
import { unfence } from "./fence.ts";

/**
 * Undoes what happens before the commit: the file gets its old length, then the
 * fence goes. If power fails in between, the fence still stands and this is
 * done again; reserved clusters inside the old length were free and stay free.
 */
export async function giveBack(disk: Disk, { fence, fileSize }: PreparedImage): Promise<void> {
  if ((await disk.size()) > fileSize.from) {
    await disk.truncate(fileSize.from);
    // Behind the fence: once it is gone others may grow the file, and a late truncation would cut their data off.
    await disk.sync();
  }
  await unfence(disk, fence);
  await disk.sync();
}
