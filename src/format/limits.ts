/**
 * QEMU's own limits (block/qcow2.h): an image that exceeds one cannot be opened
 * by any qemu, so we neither read nor write such an image.
 */
export const MAX_SNAPSHOTS = 65_536;
/** Sum of all snapshot table entries: 1024 bytes for each of 65536 snapshots. */
export const MAX_SNAPSHOT_TABLE_BYTES = 1024 * MAX_SNAPSHOTS;
export const MAX_SNAPSHOT_EXTRA_BYTES = 1024;
/** 32 MiB of 8-byte entries, for the active L1 table and that of a snapshot. */
export const MAX_L1_ENTRIES = (32 * 1024 * 1024) / 8;
export const MAX_REFCOUNT_TABLE_BYTES = 8 * 1024 * 1024;
export const MAX_BACKING_NAME_BYTES = 1023;
/** QEMU keeps a name in a 256-byte and an id in a 128-byte buffer, each with its NUL: longer names cannot be deleted by it. */
export const MAX_NAME_BYTES = 255;
export const MAX_ID_BYTES = 127;
