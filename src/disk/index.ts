export { allEnded } from "./all-ended.ts";
export { bytesDisk } from "./bytes-disk.ts";
export type { Disk, DiskMode, OpenDisk } from "./disk.ts";
export { openFileDisk } from "./file-disk.ts";
export { giveSpare, takeSpare } from "./spare-buffers.ts";
