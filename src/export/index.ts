export type { Extent, GuestDisk } from "./guest-disk.ts";
