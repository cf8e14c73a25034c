export type { Disk, DiskMode, OpenDisk } from "./disk.ts";
