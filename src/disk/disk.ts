/**
 * The file under an image: the only door through which bytes of an image are
 * read or changed. Offsets and lengths are bytes.
 *
 * Adapters (the real file, the simulated disk of the tests) pass one contract
 * suite. Calls may overlap only as far as the caller awaits: an adapter may
 * assume that a write and a read of the same range are never in flight together.
 */
export interface Disk {
  /** Absolute path, for messages and the record. */
  readonly path: string;

  /** False for a block device: its length is fixed, and `write` beyond it and `truncate` fail. */
  readonly canGrow: boolean;

  /** Length of the file now. */
  size(): Promise<number>;

  /**
   * When the file was changed last, in nanoseconds: what is the same as before means
   * that nobody wrote, as far as the clock of the kernel tells moments apart (a few
   * milliseconds). Undefined where nothing tells, as on a block device.
   */
  modified?(): Promise<bigint | undefined>;

  /**
   * Turns the locks of a reader into those of a writer, in one step: nobody has
   * written to it since it was opened. False, and nothing is changed, where somebody
   * else has it open, or it may not be written to.
   */
  lockForWriting?(): boolean;

  /** Whether a VM, or another qemu, has it open for writing. */
  isHeldByQemuWriter?(): Promise<boolean>;

  /**
   * Fills `target` from `offset`. Returns the number of bytes that lie inside
   * the file; the rest of `target` is zeroed, because a qcow2 file may end in
   * mid-cluster and what is missing reads as zero.
   * @throws QcowalError IO_FAILED
   */
  read(offset: number, target: Uint8Array): Promise<number>;

  /**
   * Writes all of `data` at `offset`; the file grows when needed, and a gap
   * reads as zeros. Not durable before the next `sync`; until then a power cut
   * may keep it, lose it or tear it at any 512-byte sector.
   * @throws QcowalError NO_SPACE (the disk stays usable, so that space can be
   * given back), IO_FAILED (final, as for `sync`), IO_FAILED_EARLIER
   */
  write(offset: number, data: Uint8Array): Promise<void>;

  /**
   * Durable barrier: when it resolves, every earlier write, truncate and
   * discard, and the file's size, survive a power cut. A failed sync is never
   * retried: from then on all but `read`, `size` and `close` throw IO_FAILED_EARLIER.
   */
  sync(): Promise<void>;

  /** Sets the file's length; new bytes read as zero. Pending until `sync`. */
  truncate(size: number): Promise<void>;

  /**
   * Gives the range back to the file system; it reads as zeros afterwards
   * where the file system can punch holes, else it is left as it is. Advisory:
   * never throws for lack of support. Never changes the file's length.
   */
  discard(offset: number, length: number): Promise<void>;

  /** Releases locks and the descriptor. Idempotent. Does not sync. */
  close(): Promise<void>;
}

/**
 * How an image is opened.
 * - `write`: exclusive; any running qemu makes it fail, and it makes every later qemu fail.
 * - `read`: beside other readers, never beside a writer, as `qemu-img snapshot -l` does.
 * - `read-unlocked`: no lock at all, as `qemu-img -U`.
 */
export type DiskMode = "write" | "read" | "read-unlocked";

/** Opens the file under an image; throws IMAGE_NOT_FOUND, IMAGE_IN_USE, IO_FAILED. */
export type OpenDisk = (path: string, mode: DiskMode) => Promise<Disk>;
