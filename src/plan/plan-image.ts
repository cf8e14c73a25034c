/**
 * Plans operations on one image. Reads through the image, writes nothing; every
 * refusal happens here, before anything is logged.
 *
 * The operations are applied to a draft first; the difference between the image
 * and the draft decides the rest, so several operations cost one pass, and what
 * one adds and another takes away is not touched at all.
 */
import { QcowalError, withPath } from "../errors/index.ts";
import { clustersFor } from "../format/index.ts";
import { type Image, checkL1Location, readRefcounts } from "../image/index.ts";
import { type Intent, PackedIntents, fill } from "../intent/index.ts";
import { countTables } from "./count-tables.ts";
import { L1Tables } from "./l1-tables.ts";
import { copiedIntents } from "./copied-flags.ts";
import { copiedOfL1Entry, countFlags, l1Bytes } from "./copied-intents.ts";
import { create } from "./create.ts";
import { deleteSnapshot } from "./delete.ts";
import { grownTo } from "./grown-to.ts";
import { type Draft, type Root, draftOf } from "./draft.ts";
import { bitmapNames, headerWithoutBitmaps, releaseBitmaps, validBitmaps } from "./drop-bitmaps.ts";
import { type HeaderChange, headerIntents } from "./header-intent.ts";
import type { ImagePlan } from "./image-plan.ts";
import { inFileOrder } from "./in-file-order.ts";
import type { SnapshotOperation, SnapshotOutcome, Operation } from "./operation.ts";
import { padded, placeSnapshotTable, release } from "./placed-table.ts";
import { RefcountChanges } from "./refcount-changes.ts";
import { refcountIntents } from "./refcount-intents.ts";
import { planRepairOperation } from "./plan-repair-operation.ts";
import { revert } from "./revert.ts";
import { Space } from "./space.ts";
import type { Step } from "./step.ts";
import { abandonedTables } from "./table-weights.ts";

export interface PlanOptions {
  /** Milliseconds since 1970: the date of the snapshots that are created. */
  readonly now: number;
  /** Called for each table and refcount block that is read: what it throws calls the planning off. */
  readonly onTable?: (() => void) | undefined;
}

/**
 * @throws QcowalError IMAGE_UNSUPPORTED, IMAGE_DAMAGED, IMAGE_INVALID, SNAPSHOT_NOT_FOUND,
 * SNAPSHOT_AMBIGUOUS, SNAPSHOT_EXISTS, SNAPSHOT_NAME_INVALID, REFCOUNT_OVERFLOW, LIMIT_EXCEEDED
 */
export async function planImage(
  image: Image,
  operations: readonly Operation[],
  options: PlanOptions,
): Promise<ImagePlan> {
  const [repair] = operations.filter((operation) => operation.type === "repair");
  if (repair !== undefined) {
    if (operations.length > 1) throw new TypeError("a repair is the only operation on its image");
    return planRepairOperation(image, repair, options);
  }
  try {
    return await planSnapshots(
      image,
      operations.filter((operation) => operation.type !== "repair"),
      options,
    );
  } catch (error) {
    // A table that is read far below knows its offset only.
    throw withPath(error, image.disk.path);
  }
}

async function planSnapshots(
  image: Image,
  operations: readonly SnapshotOperation[],
  options: PlanOptions,
): Promise<ImagePlan> {
  refuseUnsafe(image);
  const { header } = image;
  const { geometry } = header;
  const before = draftOf(image, validBitmaps(image), (snapshot) =>
    checkL1Location(
      geometry,
      snapshot.entry.l1TableOffset,
      snapshot.entry.l1Size,
      `${image.disk.path}: snapshot id ${snapshot.id}`,
    ),
  );
  const { draft: after, outcomes } = applyOperations(
    image,
    before,
    operations,
    options,
    before.bitmaps > 0 && operations.some(dropsBitmaps) ? await bitmapNames(image) : [],
  );
  const extensionPatches = after.bitmaps < before.bitmaps ? headerWithoutBitmaps(image) : undefined;

  const changes = new RefcountChanges(
    image.disk.path,
    await readRefcounts(image.disk, header, image.fileSize, options.onTable),
  );
  checkMetadataCounted(image, before, changes);
  const tables = new L1Tables(image);
  const counted = await countTables(image, { before, after }, tables, changes, options);

  if (extensionPatches !== undefined) await releaseBitmaps(image, changes);
  const space = new Space(changes);
  const placed = placeTables(image, after, space, changes);
  for (const { offset, entries } of abandonedTables(before, after)) release(changes, offset, entries * 8);
  if (placed.snapshotTable !== undefined) {
    release(changes, header.snapshotsOffset, image.snapshotTable.bytes);
  }
  const growth = growRefcounts(image, space, changes);

  const refcounts = refcountIntents(changes, growth, image.fileSize);
  const copied = await copiedIntents(image, { before, after }, tables, changes, counted, options);
  const reserve: Intent[] = [...refcounts.reserve];
  for (const { root, offset, isActive } of placed.roots) {
    const table = await tables.read(root.contents);
    const bytes = padded(
      geometry.clusterSize,
      l1Bytes(
        table,
        0,
        root.entries,
        (target) =>
          // A snapshot's table is written with every flag clear: QEMU's own revert to it copies them into the active table.
          isActive && copiedOfL1Entry(changes, target),
      ),
    );
    if (bytes.length > 0) reserve.push(fill(offset, bytes));
  }
  if (placed.snapshotTable !== undefined && placed.snapshotTable.bytes.length > 0) {
    reserve.push(fill(placed.snapshotTable.offset, padded(geometry.clusterSize, placed.snapshotTable.bytes)));
  }

  const change: HeaderChange = {
    virtualSize: after.virtualSize,
    l1Size: after.active.entries,
    l1TableOffset: placed.activeOffset,
    refcountTableOffset: growth.table?.offset ?? header.refcountTableOffset,
    refcountTableClusters: growth.table?.clusters ?? header.refcountTableClusters,
    snapshotCount: after.snapshots.length,
    snapshotsOffset: placed.snapshotTable?.offset ?? header.snapshotsOffset,
    dropsBitmaps: extensionPatches !== undefined,
  };
  return {
    outcomes,
    fileSize: { from: image.fileSize, to: grownTo(image, space.end) },
    phases: {
      reserve: inFileOrder(reserve),
      raise: PackedIntents.of(refcounts.raise, copied.clear),
      switch: headerIntents(header, image.cluster, change),
      lower: PackedIntents.of(refcounts.lower, copied.set),
      discard: refcounts.discards.intents(),
    },
    ...(extensionPatches === undefined ? {} : { extensionPatches }),
    summary: {
      clusterSize: geometry.clusterSize,
      clustersAllocated: space.allocated,
      clustersFreed: refcounts.discards.clusters,
      tablesCounted: counted.weights.size,
      refcountsChanged: changes.count(),
      copiedFlagsChanged: countFlags(copied),
    },
  };
}

const dropsBitmaps = (operation: SnapshotOperation): boolean =>
  operation.type === "revert" && operation.dropBitmaps === true;

function refuseUnsafe({ header, disk }: Image): void {
  if (header.externalDataFile) {
    throw new QcowalError(
      "IMAGE_UNSUPPORTED",
      `${disk.path} keeps its data in an external file, which internal snapshots cannot cover. Nothing was changed.`,
    );
  }
  if (header.corrupt || header.dirty) {
    const why = header.corrupt ? "is marked corrupt" : "was not closed cleanly (its dirty bit is set)";
    throw new QcowalError(
      "IMAGE_DAMAGED",
      `${disk.path} ${why}: its refcounts cannot be trusted. Nothing was changed; repair it first ('qcowal repair').`,
    );
  }
}

function applyOperations(
  image: Image,
  before: Draft,
  operations: readonly SnapshotOperation[],
  options: PlanOptions,
  bitmaps: readonly string[],
): { draft: Draft; outcomes: SnapshotOutcome[] } {
  const { geometry } = image.header;
  const step = (draft: Draft, operation: SnapshotOperation): Step => {
    switch (operation.type) {
      case "create":
        return create(draft, operation, options.now);
      case "revert":
        return revert(draft, operation, geometry, bitmaps);
      case "delete":
        return deleteSnapshot(draft, operation);
    }
  };
  let draft = before;
  const outcomes: SnapshotOutcome[] = [];
  for (const operation of operations) {
    const next = step(draft, operation);
    draft = next.draft;
    outcomes.push(next.outcome);
  }
  return { draft, outcomes };
}

/** Structures that we rely on must be counted: where one is not, its clusters look free and would be handed out. */
function checkMetadataCounted(image: Image, draft: Draft, changes: RefcountChanges): void {
  const { header } = image;
  const { clusterSize } = header.geometry;
  const check = (offset: number, bytes: number, what: string): void => {
    for (let at = offset; at < offset + bytes; at += clusterSize) {
      if (changes.stored.get(at / clusterSize) === 0) {
        throw changes.damaged(`${what} at 0x${at.toString(16)} is in use but its refcount is 0`);
      }
    }
  };
  check(0, clusterSize, "the header");
  check(header.refcountTableOffset, header.refcountTableClusters * clusterSize, "the refcount table");
  check(header.snapshotsOffset, image.snapshotTable.bytes, "the snapshot table");
  for (const offset of changes.stored.table) if (offset !== 0) check(offset, clusterSize, "a refcount block");
  // Snapshots of a damaged image may all have the same table, or tables that overlap: no cluster is looked at twice.
  const tables = [draft.active, ...draft.snapshots.map(({ root }) => root)].map(({ contents }) => contents);
  let done = 0;
  for (const { offset, entries } of tables.toSorted((a, b) => a.offset - b.offset)) {
    const from = Math.max(offset, done);
    check(from, offset + entries * 8 - from, "an L1 table");
    done = Math.max(done, Math.ceil((offset + entries * 8) / clusterSize) * clusterSize);
  }
}

interface PlacedTables {
  readonly roots: readonly { readonly root: Root; readonly offset: number; readonly isActive: boolean }[];
  readonly activeOffset: number;
  /** Undefined while the stored table stays. */
  readonly snapshotTable: { readonly offset: number; readonly bytes: Uint8Array } | undefined;
}

/** Reserves clusters for every table that has to be written anew, and encodes the snapshot table. */
function placeTables(image: Image, after: Draft, space: Space, changes: RefcountChanges): PlacedTables {
  const { geometry } = changes.stored;
  const roots: { root: Root; offset: number; isActive: boolean }[] = [];
  const place = (root: Root, isActive: boolean): number => {
    if (root.stored) return root.contents.offset;
    const offset = space.allocate(clustersFor(geometry, root.entries * 8));
    roots.push({ root, offset, isActive });
    return offset;
  };
  const activeOffset = place(after.active, true);
  const entries = after.snapshots.map(({ entry, root }) => ({
    ...entry,
    l1TableOffset: BigInt(place(root, false)),
    diskSize: entry.diskSize ?? BigInt(image.header.virtualSize),
  }));
  const unchanged =
    after.snapshots.length === image.snapshotTable.snapshots.length &&
    after.snapshots.every(({ entry }, index) => entry === image.snapshotTable.snapshots[index]?.entry);
  return {
    roots,
    activeOffset,
    snapshotTable: unchanged ? undefined : placeSnapshotTable(image, entries, space, changes),
  };
}

function growRefcounts(image: Image, space: Space, changes: RefcountChanges) {
  const growth = space.growRefcounts();
  const { header } = image;
  if (growth.table !== undefined) {
    release(changes, header.refcountTableOffset, header.refcountTableClusters * header.geometry.clusterSize);
  }
  return growth;
}
