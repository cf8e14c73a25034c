/**
 * An image of its own, made of another one or of one of its snapshots. Nothing of
 * it can be seen under its name before it is whole: it is copied into a directory
 * of its own beside that name, brought to the snapshot there, synced, and named
 * last. What a killed process has left of that directory, the next one with the
 * same name in mind removes. So it needs no journal: nobody ever meets half of it.
 */
import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { resolvedPath } from "../../journal/index.ts";
import { type Disk, openFileDisk } from "../disk/index.ts";
import { applyToNewFile, fencedError } from "../engine/index.ts";
import { QcowalError, isQcowalError, reasonOf, throwIfAborted } from "../errors/index.ts";
import { WorkingDirectory, nameNewFile } from "../export/index.ts";
import { type Image, type Snapshot, readHead, readSnapshotTable } from "../image/index.ts";
import { type ImagePlan, type Operation, planImage, selectSnapshot } from "../plan/index.ts";
import { copyFileInto } from "./copy-file.ts";
import type { SnapshotRef } from "./pool-options.ts";

export interface CloneOptions {
  /** The clone's disk is as in this snapshot, which is the only one it has. Default: the disk as it is, and every snapshot. */
  readonly snapshot?: SnapshotRef;
  /** Ends it with ABORTED; nothing is left. */
  readonly signal?: AbortSignal;
  /** Bytes of the image file that are copied; not told where the file system shares them. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface CloneReport {
  /** Path of the image with links resolved. */
  readonly image: string;
  /** That of the clone. */
  readonly clone: string;
  /** Null for the disk as it was. */
  readonly snapshot: { readonly id: string; readonly name: string } | null;
  /** The file system shares what both hold: the copy took no space, and no time. */
  readonly shared: boolean;
}

/** In the name of the directory. */
const PURPOSE = "clone";

/**
 * Makes `target`, a file that is not there yet. The image is locked as a reader
 * does while it is copied, and is not changed. A relative name of a backing file
 * means another file elsewhere: with one, the clone lies beside the image.
 *
 * @throws QcowalError IMAGE_EXISTS, IMAGE_NOT_FOUND, IMAGE_IN_USE, NEEDS_RECOVERY, IMAGE_NOT_QCOW2, IMAGE_INVALID,
 * IMAGE_UNSUPPORTED, IMAGE_DAMAGED, SNAPSHOT_NOT_FOUND, SNAPSHOT_AMBIGUOUS, REFCOUNT_OVERFLOW, NO_SPACE, ABORTED, IO_FAILED
 */
export async function cloneImage(
  image: string,
  target: string,
  options: CloneOptions = {},
): Promise<CloneReport> {
  const checkpoint = (): void =>
    throwIfAborted(options.signal, "Cloning was called off. Nothing was changed.");
  checkpoint();
  const clone = await resolvedPath(target);
  // Of one that was killed when all was done but that, the clone is there.
  await WorkingDirectory.removeLeftOver(clone, PURPOSE);
  await refuseExisting(clone);
  const disk = await openFileDisk(image, "read");
  try {
    const found = await readSource(disk, clone);
    const { snapshots } = found.snapshotTable;
    const selection = selectionOf(options.snapshot);
    const snapshot = selection === undefined ? undefined : selectSnapshot(disk.path, snapshots, selection);
    await using directory = await WorkingDirectory.create(clone, PURPOSE);
    const copy = join(directory.path, "image");
    const plan =
      snapshot === undefined || selection === undefined
        ? undefined
        : await planImage(found, operationsFor(disk.path, snapshots, snapshot, selection), {
            now: Date.now(),
            onTable: checkpoint,
          });
    const { onProgress } = options;
    const without = plan?.phases.discard ?? [];
    const shared = await copyFileInto(disk, copy, { without, checkpoint, onProgress });
    await disk.close();
    await finish(copy, shared ? plan : withoutDiscards(plan), checkpoint);
    await nameNewFile(copy, clone);
    const chosen = snapshot === undefined ? null : { id: snapshot.id, name: snapshot.name };
    return { image: disk.path, clone, snapshot: chosen, shared };
  } catch (error) {
    throw notMade(error, clone);
  } finally {
    await disk.close();
  }
}

async function refuseExisting(clone: string): Promise<void> {
  const found = await stat(clone).catch(() => undefined);
  if (found === undefined) return;
  throw new QcowalError(
    "IMAGE_EXISTS",
    `${clone} exists already. Nothing was changed; name another file, or remove it.`,
  );
}

async function readSource(disk: Disk, clone: string): Promise<Image> {
  const head = await readHead(disk);
  const { header, cluster } = head;
  if (header.fenced) throw await fencedError(disk.path, head);
  if (header.externalDataFile) {
    throw new QcowalError(
      "IMAGE_UNSUPPORTED",
      `${disk.path} keeps its data in another file, which both would write to. Nothing was changed.`,
    );
  }
  const backing = Buffer.from(
    cluster.subarray(header.backingFileOffset, header.backingFileOffset + header.backingFileSize),
  );
  const isRelative = header.backingFileOffset !== 0 && backing.length > 0 && backing[0] !== 0x2f;
  if (isRelative && dirname(disk.path) !== dirname(clone)) {
    throw new QcowalError(
      "IMAGE_UNSUPPORTED",
      `${disk.path} names its backing file relative to its own directory (${JSON.stringify(backing.toString())}), which is another file elsewhere. Nothing was changed; clone it into ${dirname(disk.path)}.`,
    );
  }
  return { ...head, disk, snapshotTable: await readSnapshotTable(disk, header) };
}

const selectionOf = (ref: SnapshotRef | undefined): { name: string } | { id: string } | undefined => {
  if (ref === undefined) return undefined;
  return typeof ref === "string" ? { name: ref } : { id: ref.id };
};

/** The disk as in the snapshot, and no other snapshot: what only those hold is given back. Bitmaps say what changed since another time. */
function operationsFor(
  image: string,
  snapshots: readonly Snapshot[],
  kept: Snapshot,
  selection: { readonly name: string } | { readonly id: string },
): Operation[] {
  const others = snapshots.filter((snapshot) => snapshot !== kept);
  return [
    { type: "revert", image, ...selection, dropBitmaps: true },
    ...others.map(({ id }): Operation => ({ type: "delete", image, id })),
  ];
}

/** For a copy without what the plan gives back: that is holes already, and to punch each once more takes long. */
const withoutDiscards = (plan: ImagePlan | undefined): ImagePlan | undefined =>
  plan && { ...plan, phases: { ...plan.phases, discard: [] } };

/** Brings the copy to the snapshot, if one was chosen, and syncs it. */
async function finish(copy: string, plan: ImagePlan | undefined, checkpoint: () => void): Promise<void> {
  const disk = await openFileDisk(copy, "write");
  try {
    if (plan !== undefined) await applyToNewFile(disk, plan, checkpoint);
    checkpoint();
    await disk.sync();
  } finally {
    await disk.close();
  }
}

const NO_SPACE = new Set(["ENOSPC", "EDQUOT"]);

/** Whatever happened to the copy, neither the image nor the clone's name has seen it. */
function notMade(error: unknown, clone: string): unknown {
  if (isQcowalError(error)) return error;
  const errno = error instanceof Error && "code" in error ? String(error.code) : "";
  if (errno === "EEXIST") {
    return new QcowalError(
      "IMAGE_EXISTS",
      `${clone} was made by somebody else meanwhile. Nothing was changed.`,
      {
        cause: error,
      },
    );
  }
  if (errno === "") return error;
  return new QcowalError(
    NO_SPACE.has(errno) ? "NO_SPACE" : "IO_FAILED",
    `${clone} cannot be made: ${reasonOf(error)} Nothing was changed.`,
    { cause: error },
  );
}
