/**
 * What a guest sees of a disk, read-only: the active layer of an image, one of
 * its snapshots, or a file that backs it. Offsets and lengths are bytes.
 */
export interface GuestDisk {
  /** Virtual size; not always a multiple of a cluster or a sector. */
  readonly size: number;

  /**
   * Fills `target` with the content from `offset`. The range lies inside the disk.
   * Calls may overlap.
   * @throws RangeError outside the disk
   * @throws QcowalError IMAGE_INVALID, IMAGE_UNSUPPORTED, IO_FAILED; of what is read without locks
   * IMAGE_CHANGED, SNAPSHOT_NOT_FOUND, NEEDS_RECOVERY
   */
  read(offset: number, target: Uint8Array): Promise<void>;

  /** How the range is stored, in order, without gaps and merged as far as it is stored alike. Reads no content. */
  extents(offset: number, length: number): AsyncIterable<Extent>;

  /** Idempotent. */
  close(): Promise<void>;
}

export interface Extent {
  readonly offset: number;
  readonly length: number;
  /**
   * `zero`: said to read as zeros. `hole`: nothing says anything, neither here
   * nor in a file behind it, so that it reads as zeros.
   */
  readonly kind: "data" | "compressed" | "zero" | "hole";
  /** Which file says so: 0 for the image itself, 1 for its backing file, and so on. */
  readonly depth: number;
  /** Where in that file `data` begins, or the cluster that a `zero` keeps for later. */
  readonly hostOffset?: number;
}
