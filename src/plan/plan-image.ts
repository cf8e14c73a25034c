/**
 * Plans operations on one image. Reads through the image, writes nothing; every
 * refusal happens here, before anything is logged.
 *
 * The operations are applied to a draft first; the difference between the image
 * and the draft decides the rest, so several operations cost one pass, and what
 * one adds and another takes away is not touched at all.
 */
import { QcowalError, withPath } from "../errors/index.ts";
import { type SnapshotEntry, clustersFor } from "../format/index.ts";
import { type Image, checkL1Location, openRefcounts, windowBytesBeside } from "../image/index.ts";
import { type Intent, PackedIntents, fill } from "../intent/index.ts";
import { bytesPerChange } from "./change-arrays.ts";
import { countedTables } from "./counted-tables.ts";
import { collectReceived } from "./collect-received.ts";
import { L1Tables } from "./l1-tables.ts";
import { l1Bytes } from "./copied-intents.ts";
import { create } from "./create.ts";
import { deleteSnapshot } from "./delete.ts";
import { grownTo } from "./grown-to.ts";
import { type Draft, type Drafts, type Root, draftOf } from "./draft.ts";
import { bitmapNames, bitmapPlaces, headerWithoutBitmaps, validBitmaps } from "./drop-bitmaps.ts";
import { type HeaderChange, headerIntents } from "./header-intent.ts";
import type { ImagePlan } from "./image-plan.ts";
import { inFileOrder } from "./in-file-order.ts";
import { checkMetadataCounted, slotsOf, structuresOf } from "./metadata.ts";
import type {
  JournaledOperation,
  ReceiveOperation,
  ReceiveOutcome,
  SnapshotOperation,
  SnapshotOutcome,
} from "./operation.ts";
import { type PlacedTable, padded, placeSnapshotTable } from "./placed-table.ts";
import { referenceChanges } from "./reference-changes.ts";
import { type StoredBytes, refcountTableOf, release } from "./released.ts";
import { planRepairOperation } from "./plan-repair-operation.ts";
import { isReceived, receive, refuseReceive } from "./receive.ts";
import type { OpenReceived, ReceivedContent, ReceivedRoot } from "./received-content.ts";
import { ReceivedTables } from "./received-tables.ts";
import { rename } from "./rename.ts";
import { revert } from "./revert.ts";
import { simpleOperations } from "./simple-operations.ts";
import { Space } from "./space.ts";
import type { Step } from "./step.ts";
import { abandonedTables, mostPaths } from "./table-weights.ts";

export interface PlanOptions {
  /** Milliseconds since 1970: the date of the snapshots that are created. */
  readonly now: number;
  /** Called for each table and refcount block that is read: what it throws calls the planning off. */
  readonly onTable?: (() => void) | undefined;
  /** How much of the refcounts is held at a time; for tests, which have small images. */
  readonly windowBytes?: number | undefined;
  /** Whether refcount blocks are read on demand; else that is decided by how many tables are counted. For tests. */
  readonly onDemand?: boolean | undefined;
  /** The same plan as on demand, with every block read; for tests. */
  readonly readsAllBlocks?: boolean | undefined;
  /** What a receive brings. */
  readonly openReceived?: OpenReceived | undefined;
}

/** What is planned in one pass. */
type PassOperation = SnapshotOperation | ReceiveOperation;

/**
 * @throws QcowalError IMAGE_UNSUPPORTED, IMAGE_DAMAGED, IMAGE_INVALID, SNAPSHOT_NOT_FOUND,
 * SNAPSHOT_AMBIGUOUS, SNAPSHOT_EXISTS, SNAPSHOT_NAME_INVALID, REFCOUNT_OVERFLOW, LIMIT_EXCEEDED
 */
export async function planImage(
  image: Image,
  operations: readonly JournaledOperation[],
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
  operations: readonly PassOperation[],
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
  const content = await openContent(image, before, operations, options);
  const { draft: after, outcomes } = applyOperations(
    image,
    before,
    operations,
    options,
    before.bitmaps > 0 && operations.some(dropsBitmaps) ? await bitmapNames(image) : [],
  );
  const extensionPatches = after.bitmaps < before.bitmaps ? headerWithoutBitmaps(image) : undefined;

  const drafts = { before, after };
  const windows = await openRefcounts(image.disk, header, image.fileSize, {
    perEntry: bytesPerChange(mostPaths(drafts)),
    bytes: options.windowBytes ?? windowBytesBeside(after.active.entries, geometry),
    onBlock: options.onTable,
  });
  const tables = new L1Tables(image);
  const space = new Space(windows, windows.stored);
  const received =
    content === undefined ? undefined : await receivedTables(image, drafts, tables, space, content, options);
  const counted = await countedTables(drafts, tables);
  // Few tables lead to few blocks, as many as there are blocks perhaps to all of them.
  const isOnDemand =
    received === undefined && (options.onDemand ?? counted.weights.tables.length <= windows.blocks);
  if (isOnDemand) {
    const slots = [...structuresOf(image, before)].flatMap((structure) => [...slotsOf(geometry, structure)]);
    windows.readOnDemand(slots, options.readsAllBlocks);
  }
  const placed = await placeTables(image, after, space);
  const growth = await space.growRefcounts();
  const released: StoredBytes[] = [
    ...(extensionPatches === undefined ? [] : await bitmapPlaces(image)),
    ...abandonedTables(before, after).map(({ offset, entries }) => ({ offset, length: entries * 8 })),
    ...(placed.snapshotTable === undefined
      ? []
      : [{ offset: header.snapshotsOffset, length: image.snapshotTable.bytes }]),
    ...(growth.table === undefined ? [] : [refcountTableOf(header)]),
  ];
  const { refcounts, clear, set, copiedFlagsChanged, l1Flags, refcountsChanged } = await referenceChanges(
    image,
    windows,
    tables,
    {
      drafts,
      counted,
      growth,
      received,
      *otherPlaces() {
        yield* released;
        for (const cluster of space.taken) yield { offset: cluster * geometry.clusterSize, length: 1 };
      },
      addOthers(changes) {
        for (const cluster of space.taken) if (changes.covers(cluster)) changes.take(cluster);
        release(changes, released);
      },
      check: (changes) => checkMetadataCounted(image, before, changes),
    },
    options.onTable,
  );

  const reserve: Intent[] = [...refcounts.reserve, ...((await received?.fills()) ?? [])];
  for (const { root, offset, isActive } of placed.roots) {
    const table = await tables.whole(root.contents);
    // A snapshot's table is written with every flag clear: QEMU's own revert to it copies them into the active table.
    const bytes = padded(
      geometry.clusterSize,
      l1Bytes(table, 0, root.entries, isActive ? l1Flags : undefined),
    );
    if (bytes.length > 0) reserve.push(fill(offset, bytes));
  }
  reserve.push(...(placed.snapshotTable?.fills ?? []));

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
      raise: PackedIntents.of(refcounts.raise, clear),
      switch: headerIntents(header, image.cluster, change),
      lower: PackedIntents.of(refcounts.lower, set),
      discard: refcounts.discards.intents(),
    },
    ...(extensionPatches === undefined ? {} : { extensionPatches }),
    snapshots: placed.entries,
    summary: {
      clusterSize: geometry.clusterSize,
      clustersAllocated: space.taken.size,
      clustersFreed: refcounts.discards.clusters,
      tablesCounted: counted.weights.tables.length + (received?.count ?? 0),
      refcountsChanged,
      copiedFlagsChanged,
    },
    ...(content === undefined ? {} : { verify: () => content.verify(receivedRoot(after, placed)) }),
  };
}

/** Looks at what a receive brings: first of all, because what was received before is asked for again with the name that it has by now. */
async function openContent(
  image: Image,
  before: Draft,
  operations: readonly PassOperation[],
  { openReceived }: PlanOptions,
): Promise<ReceivedContent | undefined> {
  const [operation, ...others] = operations.filter(({ type }) => type === "receive");
  if (operation?.type !== "receive") return undefined;
  if (others.length > 0) throw new TypeError("there is one receive for an image in a transaction");
  if (openReceived === undefined) throw new TypeError("a receive needs its stream: use Pool.receive");
  refuseReceive(before, operation, image);
  return openReceived(image, operation);
}

async function receivedTables(
  image: Image,
  { before, after }: Drafts,
  tables: L1Tables,
  space: Space,
  content: ReceivedContent,
  { onTable }: PlanOptions,
): Promise<ReceivedTables> {
  const l1 = await tables.read(before.active.contents);
  const collected = await collectReceived(image, content, {
    l1,
    from: before.virtualSize,
    to: after.virtualSize,
    space,
    onTable,
  });
  const uses = [after.active, ...after.snapshots.map(({ root }) => root)].filter(({ contents }) =>
    isReceived(contents),
  );
  if (!isReceived(after.active.contents)) throw new TypeError("what is received would be lost again");
  const received = new ReceivedTables(image, l1, after.active.contents, collected, uses.length);
  tables.put(received);
  return received;
}

const receivedRoot = (after: Draft, { activeOffset }: PlacedTables): ReceivedRoot => ({
  offset: activeOffset,
  entries: after.active.entries,
  size: after.virtualSize,
});

const dropsBitmaps = (operation: PassOperation): boolean =>
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
  operations: readonly PassOperation[],
  options: PlanOptions,
  bitmaps: readonly string[],
): { draft: Draft; outcomes: (SnapshotOutcome | ReceiveOutcome)[] } {
  const { geometry } = image.header;
  const step = (draft: Draft, operation: PassOperation): Step => {
    switch (operation.type) {
      case "receive":
        return receive(draft, operation, image);
      case "create":
        return create(draft, operation, options.now);
      case "revert":
        return revert(draft, operation, geometry, bitmaps);
      case "delete":
        return deleteSnapshot(draft, operation, options.now);
      case "rename":
        return rename(draft, operation);
    }
  };
  let draft = before;
  const outcomes: (SnapshotOutcome | ReceiveOutcome)[] = [];
  for (const operation of operations.flatMap((operation) => simpleOperations(operation))) {
    const next = step(draft, operation);
    draft = next.draft;
    outcomes.push(next.outcome);
  }
  return { draft, outcomes };
}

interface PlacedTables {
  /** The snapshot table as it will be. */
  readonly entries: readonly SnapshotEntry[];
  readonly roots: readonly { readonly root: Root; readonly offset: number; readonly isActive: boolean }[];
  readonly activeOffset: number;
  /** Undefined while the stored table stays. */
  readonly snapshotTable: PlacedTable | undefined;
}

/** Reserves clusters for every table that has to be written anew, and encodes the snapshot table. */
async function placeTables(image: Image, after: Draft, space: Space): Promise<PlacedTables> {
  const { geometry } = image.header;
  const roots: { root: Root; offset: number; isActive: boolean }[] = [];
  const place = async (root: Root, isActive: boolean): Promise<number> => {
    if (root.stored) return root.contents.offset;
    const offset = await space.allocate(clustersFor(geometry, root.entries * 8));
    roots.push({ root, offset, isActive });
    return offset;
  };
  const activeOffset = await place(after.active, true);
  const entries: SnapshotEntry[] = [];
  for (const { entry, root } of after.snapshots) {
    const l1TableOffset = BigInt(await place(root, false));
    const diskSize = entry.diskSize ?? BigInt(image.header.virtualSize);
    const isSame = l1TableOffset === entry.l1TableOffset && diskSize === entry.diskSize;
    entries.push(isSame ? entry : { ...entry, l1TableOffset, diskSize });
  }
  const unchanged =
    after.snapshots.length === image.snapshotTable.snapshots.length &&
    after.snapshots.every(({ entry }, index) => entry === image.snapshotTable.snapshots[index]?.entry);
  return {
    entries: unchanged ? after.snapshots.map(({ entry }) => entry) : entries,
    roots,
    activeOffset,
    snapshotTable: unchanged ? undefined : await placeSnapshotTable(image, entries, space),
  };
}
