import type { SnapshotFacts } from "../image/index.ts";

/** What a caller asks of one image. Plain data: it is validated, planned, logged and shown as it is. */
export type Operation = SnapshotOperation | RepairOperation;

/** What is planned and recorded. A receive is asked for with its stream, which is no plain data: see `Pool.receive`. */
export type JournaledOperation = Operation | ReceiveOperation;

/** What changes what a user can see: several of them on one image are one pass. */
export type SnapshotOperation = CreateOperation | RevertOperation | DeleteOperation | RenameOperation;

export interface CreateOperation {
  readonly type: "create";
  /** Path of the image. */
  readonly image: string;
  /** At most 255 bytes of UTF-8. */
  readonly name: string;
  /** Allow an empty name, or one that a snapshot has already. */
  readonly force?: boolean;
  /** A schedule takes it, not a person: by itself a policy removes only what has this mark. */
  readonly auto?: true;
}

/** Makes the active layer equal to a snapshot; what was written since is gone. */
export interface RevertOperation extends SnapshotSelection {
  readonly type: "revert";
  readonly image: string;
  /**
   * Drops the persistent bitmaps of the image with the revert, which would make
   * them wrong; without it, they are a refusal. Nothing happens where there are none.
   */
  readonly dropBitmaps?: boolean;
  /**
   * Name of a snapshot that is taken of the active layer before, in the same
   * transaction: nothing is lost then. The outcomes list it before the revert.
   */
  readonly keep?: string;
}

export interface DeleteOperation extends SnapshotSelection {
  readonly type: "delete";
  readonly image: string;
  /**
   * Milliseconds for which the snapshot is kept, under a reserved name that
   * `parseDeletedName` reads. Nothing is freed before it is deleted for good.
   */
  readonly recoverableFor?: number;
  /** Also a snapshot that somebody holds, which is a refusal without it. */
  readonly evenIfHeld?: true;
}

/** A hundred years: what is to be kept for longer is not to be deleted. */
export const MAX_RECOVERABLE_MS = 100 * 366 * 86_400_000;

/** Gives a snapshot another name. Its id, its date and all else stay. */
export interface RenameOperation extends SnapshotSelection {
  readonly type: "rename";
  readonly image: string;
  /** The new name, at most 255 bytes of UTF-8. */
  readonly to: string;
  /** Allow an empty name, or one that a snapshot has already. */
  readonly force?: boolean;
}

/**
 * Mends what is wrong with the image's own bookkeeping. No content changes: the
 * disk, its snapshots and their list are as before, unless a damaged snapshot is
 * given up. It is the only operation on its image in a transaction.
 */
export interface RepairOperation {
  readonly type: "repair";
  readonly image: string;
  /**
   * `leaks`: only space that nothing uses, and what follows from it, COPIED flags
   * and marks of damage; other damage stays as it is. `all` (the default):
   * whatever can be mended.
   */
  readonly what?: "leaks" | "all";
  /**
   * Clears COPIED flags in the L1 tables of snapshots. They mean nothing there,
   * but QEMU's own revert copies them into the active table, where they do.
   */
  readonly harden?: boolean;
  /**
   * Gives up snapshots that cannot be read, or whose tables contradict themselves
   * or the active layer, and extra data of theirs that QEMU refuses. Without it
   * such snapshots stay, and so does every cluster that they may own.
   */
  readonly dropDamagedSnapshots?: boolean;
  /** Gives up those that somebody holds as well, which is a refusal without it. */
  readonly evenIfHeld?: true;
}

/**
 * The active layer becomes what a stream of changes leads to. What is recorded
 * says which stream.
 */
export interface ReceiveOperation {
  readonly type: "receive";
  readonly image: string;
  /** SHA-256 of the stream, in hexadecimal. */
  readonly stream: string;
  /** What the image held, and what it is to hold; `from` is null for a full stream. */
  readonly from: SentState | null;
  readonly to: SentState;
}

/** A state of a disk, as it was sent. */
export interface SentState {
  /** Null for the active layer. */
  readonly snapshot: { readonly id: string; readonly name: string } | null;
  /** Size of the disk, in bytes. */
  readonly size: number;
}

/**
 * Which snapshot: exactly one of `id` and `name`. `lookup` says how a name is
 * read: `unique` (the default) refuses a name that several snapshots have;
 * `first` takes the first of them, as `qemu-img snapshot -d`; `id-then-name`
 * looks through the ids first, as `qemu-img snapshot -a`.
 */
export interface SnapshotSelection {
  readonly name?: string;
  readonly id?: string;
  readonly lookup?: "unique" | "first" | "id-then-name";
}

/** What an operation did, or will do: enough to report it without the image. */
export type OperationOutcome = SnapshotOutcome | RepairOutcome | ReceiveOutcome;

/** A stream that was received. */
export interface ReceiveOutcome extends Omit<ReceiveOperation, "image"> {
  /** Virtual size of the disk before and after, where it changed. */
  readonly resized?: { readonly from: number; readonly to: number };
}

export interface SnapshotOutcome {
  readonly type: SnapshotOperation["type"];
  /** As it was when the operation came to it. */
  readonly snapshot: SnapshotFacts;
  /** Its new name, where it was renamed; of a recoverable delete the one under which it is kept. */
  readonly to?: string;
  /** Created with the mark of what a schedule takes. */
  readonly auto?: true;
  /** Virtual size of the disk before and after, where a revert changed it. */
  readonly resized?: { readonly from: number; readonly to: number };
  /** Names of the persistent bitmaps that went with a revert, in the order of their directory. */
  readonly droppedBitmaps?: readonly string[];
}

/** What a repair found and mends. All zeros, false and empty: there was nothing to do. */
export interface RepairOutcome {
  readonly type: "repair";
  readonly mended: Mended;
  /** The first of it in words. */
  readonly findings: readonly string[];
  /** Damage that stays, and why, in words. Empty: nothing is left. */
  readonly left: readonly string[];
}

export interface Mended {
  /** Clusters that were counted although nothing refers to them. */
  readonly leakedClusters: number;
  /** Refcounts of clusters in use that were too high. */
  readonly refcountsTooHigh: number;
  readonly refcountsTooLow: number;
  /** Clusters in use that no refcount counted, because their block was missing or could not be believed. */
  readonly clustersUncounted: number;
  /** COPIED flags of the active layer. */
  readonly copiedFlags: number;
  /** COPIED flags in L1 tables of snapshots, with `harden`. */
  readonly snapshotFlags: number;
  /** COPIED flags of compressed clusters in L2 tables that only snapshots reach: there it must not be set. */
  readonly compressedFlags: number;
  /** L2 entries that read as zeros and kept a cluster at an odd place, which they give up. */
  readonly zeroClusters: number;
  /** Refcount blocks that were missing, unreadable or in the place of something else. */
  readonly refcountBlocks: number;
  /** The refcount table was written anew. */
  readonly refcountTable: boolean;
  /** The header says again where the snapshot table is, or how many snapshots there are. */
  readonly snapshotTable: boolean;
  /** Entries of the snapshot table that lacked fields which version 3 requires. */
  readonly snapshotEntries: number;
  /** Entries of the snapshot table of which unknown extra data was cut off, because QEMU reads at most 1024 bytes. */
  readonly snapshotEntriesCut: number;
  /** Entries of the snapshot table that nothing can read: they have no name to give. */
  readonly snapshotEntriesLost: number;
  /** Snapshots that were given up, with their whole names: the first of them, where that is too much for a record. */
  readonly snapshotsDropped: readonly { readonly id: string; readonly name: string }[];
  /** Snapshots that were given up beside those. */
  readonly snapshotsDroppedUnnamed: number;
  readonly dirtyBit: boolean;
  readonly corruptBit: boolean;
}

function wrong(what: string): never {
  throw new TypeError(`operation: ${what}`);
}

/**
 * Checks the shape of an operation that came from outside.
 * @throws TypeError naming the field
 */
export function assertOperation(value: unknown): asserts value is Operation {
  if (typeof value !== "object" || value === null) throw new TypeError("an operation must be an object");
  if ("type" in value && value.type === "repair") {
    assertRepair(value);
    return;
  }
  const { type, image, name, id, lookup, force, auto, ...more } = value as Record<string, unknown>;
  const { dropBitmaps, keep, recoverableFor, evenIfHeld, to, ...rest } = more;
  if (type !== "create" && type !== "revert" && type !== "delete" && type !== "rename") {
    wrong(`unknown type ${JSON.stringify(type)}; known are create, revert, delete, rename, repair`);
  }
  const unknown = Object.keys(rest);
  if (unknown.length > 0) wrong(`unknown field ${JSON.stringify(unknown[0])}`);
  if (typeof image !== "string" || image === "") wrong("'image' must be a path");
  if (name !== undefined && typeof name !== "string") wrong("'name' must be a string");
  if (auto !== undefined && (type !== "create" || auto !== true))
    wrong("'auto' is true or absent, and belongs to create");
  if (evenIfHeld !== undefined && (type !== "delete" || evenIfHeld !== true)) {
    wrong("'evenIfHeld' is true or absent, and belongs to delete and repair");
  }
  if (dropBitmaps !== undefined) {
    if (type !== "revert") wrong("'dropBitmaps' belongs to revert");
    if (typeof dropBitmaps !== "boolean") wrong("'dropBitmaps' must be true or false");
  }
  if (keep !== undefined) {
    if (type !== "revert") wrong("'keep' belongs to revert");
    if (typeof keep !== "string") wrong("'keep' must be the name of a snapshot");
  }
  if (recoverableFor !== undefined) {
    if (type !== "delete") wrong("'recoverableFor' belongs to delete");
    assertDuration(recoverableFor);
  }
  if (type === "rename") {
    if (typeof to !== "string") wrong("rename needs 'to', the new name");
  } else if (to !== undefined) wrong("'to' belongs to rename");
  if (force !== undefined) {
    if (type !== "create" && type !== "rename") wrong("'force' belongs to create and rename");
    if (typeof force !== "boolean") wrong("'force' must be true or false");
  }
  if (type === "create") {
    if (name === undefined) wrong("create needs a 'name'");
    if (id !== undefined || lookup !== undefined) wrong("create takes neither 'id' nor 'lookup'");
    return;
  }
  if (id !== undefined && typeof id !== "string") wrong("'id' must be a string");
  if ((id === undefined) === (name === undefined)) wrong(`${type} needs either a 'name' or an 'id'`);
  if (lookup !== undefined && lookup !== "unique" && lookup !== "first" && lookup !== "id-then-name") {
    wrong("'lookup' must be unique, first or id-then-name");
  }
  if (lookup !== undefined && name === undefined) wrong("'lookup' goes with 'name'");
}

function assertDuration(value: unknown): void {
  if (!Number.isInteger(value) || Number(value) < 1 || Number(value) > MAX_RECOVERABLE_MS) {
    wrong(`'recoverableFor' must be a number of milliseconds up to ${MAX_RECOVERABLE_MS}`);
  }
}

function assertRepair(value: object): void {
  const {
    type: _,
    image,
    what,
    harden,
    dropDamagedSnapshots,
    evenIfHeld,
    ...rest
  } = value as Record<string, unknown>;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) wrong(`unknown field ${JSON.stringify(unknown)}`);
  if (typeof image !== "string" || image === "") wrong("'image' must be a path");
  if (what !== undefined && what !== "leaks" && what !== "all") wrong("'what' must be leaks or all");
  for (const [name, flag] of Object.entries({ harden, dropDamagedSnapshots })) {
    if (flag !== undefined && typeof flag !== "boolean") wrong(`'${name}' must be true or false`);
  }
  if (evenIfHeld !== undefined && evenIfHeld !== true) wrong("'evenIfHeld' is true or absent");
  if (what === "leaks" && dropDamagedSnapshots === true) wrong("'dropDamagedSnapshots' goes with 'all'");
}
