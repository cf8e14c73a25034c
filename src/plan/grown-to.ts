import { QcowalError } from "../errors/index.ts";
import type { Image } from "../image/index.ts";

/**
 * Length of the file while everything up to `end` is in it.
 * @throws QcowalError NO_SPACE for a block device that ends before: that is found here, before anything is written
 */
export function grownTo({ disk, fileSize }: Image, end: number): number {
  if (end > fileSize && !disk.canGrow) {
    throw new QcowalError(
      "NO_SPACE",
      `${disk.path} is a block device of ${fileSize} bytes, and ${end} are needed. Nothing was changed; enlarge the device, or delete a snapshot.`,
      { details: { path: disk.path, size: fileSize, needed: end } },
    );
  }
  return Math.max(end, fileSize);
}
