import type { GuestDisk } from "./guest-disk.ts";

/** Where there is something to read: offsets of windows of the disk, in order. What is said to be zeros is left out. */
export async function* contentWindows(disk: GuestDisk, windowBytes: number): AsyncGenerator<number> {
  let next = 0;
  for await (const { offset, length, kind } of disk.extents(0, disk.size)) {
    if (kind === "hole" || kind === "zero") continue;
    next = Math.max(next, Math.floor(offset / windowBytes) * windowBytes);
    for (; next < offset + length; next += windowBytes) yield next;
  }
}
