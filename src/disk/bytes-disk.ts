import { invariant } from "../errors/index.ts";
import type { Disk } from "./disk.ts";

/** A file that is not there yet, to be planned upon: it reads as `bytes`, and whatever writes to it is a bug. */
export function bytesDisk(path: string, bytes: Uint8Array): Disk {
  const refuse = async (): Promise<void> =>
    invariant(await Promise.resolve(false), `${path} is only planned, and was written to`);
  return {
    path,
    canGrow: true,
    size: () => Promise.resolve(bytes.length),
    read: (offset, target) => {
      const part = bytes.subarray(offset, offset + target.length);
      target.set(part);
      target.fill(0, part.length);
      return Promise.resolve(part.length);
    },
    write: refuse,
    sync: refuse,
    truncate: refuse,
    discard: refuse,
    close: () => Promise.resolve(),
  };
}
