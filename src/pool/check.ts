import { type Disk, openFileDisk } from "../disk/index.ts";
import { throwIfAborted } from "../errors/index.ts";
import { type FenceOwner, fenceOwner } from "../format/index.ts";
import { type CheckedTables, checkTables, readHead } from "../image/index.ts";

export interface CheckOptions {
  /** Take no lock, as `qemu-img -U`: beside a running VM, whose half-written tables may look damaged. */
  readonly forceShare?: boolean;
  /** Say also what the active layer and each snapshot occupy, and what deleting a snapshot would free. */
  readonly usage?: boolean;
  /** Ends the check with ABORTED. */
  readonly signal?: AbortSignal;
  /** Told how many of the L2 tables are done. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface CheckReport extends CheckedTables {
  /** Path of the image with links resolved. */
  readonly image: string;
  /** An interrupted operation holds the image: what is found may be its traces, and recovery takes them away. */
  readonly interrupted: boolean;
  /** Which journal can finish it, where the header says so. */
  readonly owner?: FenceOwner;
}

/**
 * Checks all metadata of an image by the rules of `qemu-img check`, and says of
 * each finding whose it is. Writes nothing and needs no journal. An image that an
 * interrupted operation has fenced is checked as it is.
 *
 * @throws QcowalError IMAGE_NOT_FOUND, IMAGE_IN_USE, IMAGE_NOT_QCOW2, IMAGE_UNSUPPORTED, ABORTED, IO_FAILED;
 * IMAGE_INVALID for a header that leaves nothing to check
 */
export async function checkImage(path: string, options: CheckOptions = {}): Promise<CheckReport> {
  checkpointOf(options)();
  const disk = await openFileDisk(path, options.forceShare === true ? "read-unlocked" : "read");
  try {
    return await checkDisk(disk, options);
  } finally {
    await disk.close();
  }
}

/** The same for an image that is open. */
export async function checkDisk(disk: Disk, options: CheckOptions = {}): Promise<CheckReport> {
  const head = await readHead(disk);
  const owner = head.header.fenced ? fenceOwner(head.area) : undefined;
  const checked = await checkTables(disk, head, {
    usage: options.usage === true,
    ...(options.onProgress === undefined ? {} : { onTable: options.onProgress }),
    checkpoint: checkpointOf(options),
  });
  return {
    image: disk.path,
    interrupted: head.header.fenced,
    ...(owner === undefined ? {} : { owner }),
    ...checked,
  };
}

const checkpointOf =
  ({ signal }: CheckOptions) =>
  (): void =>
    throwIfAborted(signal, "The check was called off. Nothing was changed.");
