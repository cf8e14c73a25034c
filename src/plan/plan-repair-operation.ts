/**
 * Plans the repair of an image: a census of its tables says what every refcount
 * has to be, and the refcounts what every COPIED flag has to be. What users can
 * see is taken from the tables as they are; where those contradict themselves,
 * nobody knows what they should be, and the image is refused.
 *
 * The order of the phases is that of any operation. After `raise` no refcount is
 * too low, so the switch can take the dirty and the corrupt bit away; what is
 * left behind it are leaks.
 */
import { QcowalError, isQcowalError } from "../errors/index.ts";
import { type Image, type UnalignedZero, readL1Table } from "../image/index.ts";
import { type Intent, PackedIntents, fill } from "../intent/index.ts";
import { type CopiedIntents, clearedInL1, countFlags } from "./copied-intents.ts";
import { repairTables } from "./repair-tables.ts";
import { droppedSnapshots } from "./dropped-snapshots.ts";
import { grownTo } from "./grown-to.ts";
import { withSoughtSnapshotTable } from "./found-snapshot-table.ts";
import { misplacedTable, withoutDisplacedEntries } from "./misplaced-snapshot-table.ts";
import { headerIntents } from "./header-intent.ts";
import type { ImagePlan } from "./image-plan.ts";
import { inFileOrder } from "./in-file-order.ts";
import type { Mended, RepairOperation } from "./operation.ts";
import { placeSnapshotTable } from "./placed-table.ts";
import { refcountDifferences } from "./refcount-differences.ts";
import { addRefcountIntents, newTableIntent, noRefcountIntents } from "./refcount-intents.ts";
import * as words from "./repair-findings.ts";
import { believedRefcounts } from "./repair-refcounts.ts";
import type { RepairScope } from "./repair-scope.ts";
import { Space } from "./space.ts";
import { wrongStreamFlags } from "./stream-flags.ts";
import { wrongFlags } from "./wrong-flags.ts";
import { zeroIntents } from "./zero-intents.ts";

/** @throws QcowalError IMAGE_DAMAGED with `findings` for what cannot be mended, IMAGE_UNSUPPORTED, REFCOUNT_OVERFLOW, LIMIT_EXCEEDED */
export async function planRepairOperation(
  image: Image,
  operation: RepairOperation,
  options: { readonly onTable?: (() => void) | undefined },
): Promise<ImagePlan> {
  const { disk, header } = image;
  if (header.externalDataFile) {
    throw new QcowalError(
      "IMAGE_UNSUPPORTED",
      `${disk.path} keeps its data in an external file, which a repair does not know. Nothing was changed; see 'qcowal check'.`,
    );
  }
  try {
    return await planSeeking(image, operation, options.onTable);
  } catch (cause) {
    // Tables that break the format are findings like any other.
    if (!isQcowalError(cause, "IMAGE_INVALID")) throw cause;
    throw words.irreparable(disk.path, [words.bare(disk.path, cause.message)], cause);
  }
}

/** A snapshot table that is not where the header says is looked for. */
async function planSeeking(
  image: Image,
  operation: RepairOperation,
  onTable: (() => void) | undefined,
): Promise<ImagePlan> {
  const misplaced = misplacedTable(image);
  if (misplaced !== undefined) {
    return plan(await withSoughtSnapshotTable(image, misplaced, onTable), operation, onTable);
  }
  try {
    return await plan(image, operation, onTable);
  } catch (error) {
    // What was read from a wrong place contradicts everything else.
    const isRefused = isQcowalError(error, "IMAGE_DAMAGED") || isQcowalError(error, "IMAGE_INVALID");
    const without = isRefused ? await withoutDisplacedEntries(image, onTable) : undefined;
    if (without === undefined) throw error;
    return plan(without, operation, onTable);
  }
}

async function plan(
  image: Image,
  operation: RepairOperation,
  onTable: (() => void) | undefined,
): Promise<ImagePlan> {
  const { disk, header } = image;
  const { geometry } = header;
  let tables = 0;
  const onCounted = (): void => {
    tables += 1;
    onTable?.();
  };
  const { snapshots, scope, census } = await repairTables(image, operation, onCounted);
  const believed = await believedRefcounts(image, census, onTable);
  const isBelieved = !believed.newTable && believed.damagedSlots === 0;
  if (!isBelieved && (await withoutDisplacedEntries(image, onTable)) !== undefined) {
    throw words.irreparable(disk.path, believed.findings);
  }
  const differences = refcountDifferences(disk.path, census, believed.refcounts, {
    raise: scope.isAll,
    // With `leaks`, what a slot or an entry at an odd place means to name looks leaked, and may be all that is left of it.
    lower: scope.stays.length === 0 && (scope.isAll || (isBelieved && census.unalignedZeros.length === 0)),
  });
  if (census.findings.length > 0) throw words.irreparable(disk.path, census.findings);
  const { changes } = differences;
  // Refcounts that cannot be believed confirm nothing.
  const isConfirmed =
    isBelieved &&
    differences.uncounted + differences.leakedClusters + differences.tooHigh === 0 &&
    (header.rescued?.snapshotTable === undefined || differences.tooLow === 0) &&
    !(scope.isVoid && header.dirty);
  // Where each cluster has its owner, there is none that lost snapshots would have had.
  const lost = scope.isVoid && isConfirmed ? 0 : scope.lost;
  if (scope.isDoubtful && !isConfirmed) {
    throw words.refusal(
      disk.path,
      [...scope.limits, ...differences.findings].slice(0, words.MAX_FINDINGS),
      [],
    );
  }

  const missing = changes.blockIndexes.filter((index) => believed.refcounts.block(index) === undefined);
  const isRebuilt = scope.isAll && (missing.length > 0 || !isBelieved);
  if (isRebuilt && scope.stays.length > 0) {
    throw words.refusal(
      disk.path,
      [...words.damaged(scope.stays), ...words.refcountBlocks(believed.findings)],
      scope.stays,
    );
  }
  // Where refcounts are missing, nobody knows what else is written there; nor where a snapshot cannot be read.
  const isUncertain = believed.newTable || scope.stays.length > 0;
  const space = new Space(
    changes,
    believed.refcounts,
    isUncertain ? Math.ceil(image.fileSize / geometry.clusterSize) : 0,
  );
  // Not `release`: what is replaced may never have been counted, and is mended by that.
  const giveUp = (offset: number, bytes: number): void => {
    for (let at = offset; at < offset + bytes; at += geometry.clusterSize) {
      changes.add(at / geometry.clusterSize, -1);
    }
  };
  const entries = scope.kept.map(({ entry }) => ({
    ...entry,
    diskSize: entry.diskSize ?? BigInt(header.virtualSize),
  }));
  const incomplete =
    geometry.version === 3 ? scope.kept.filter(({ entry }) => entry.diskSize === undefined) : [];
  const table =
    scope.isAll && incomplete.length + scope.dropped.length + scope.cut + lost > 0
      ? await placeSnapshotTable(image, entries, space)
      : undefined;
  // A snapshot that contradicts the rest may say that it has these clusters.
  if (table !== undefined && scope.stays.length === 0) {
    giveUp(header.snapshotsOffset, image.snapshotTable.bytes);
  }
  const growth = await space.growRefcounts({ missing, newTable: scope.isAll && believed.newTable });
  for (const cluster of space.taken) changes.take(cluster);
  if (growth.table !== undefined && believed.tableCounted) {
    giveUp(header.refcountTableOffset, header.refcountTableClusters * geometry.clusterSize);
  }
  const refcounts = noRefcountIntents(image);
  addRefcountIntents(changes, growth, refcounts);
  if (growth.table !== undefined) refcounts.reserve.push(newTableIntent(believed.refcounts, growth));
  const zeros = scope.isAll ? census.unalignedZeros : [];

  const left = [
    ...words.stays(scope.stays),
    ...words.leftRefcounts(differences.left, scope),
    ...(scope.isAll
      ? []
      : [
          ...words.refcountBlocks(believed.findings),
          ...words.incomplete(incomplete),
          ...words.zeros(census.unalignedZeros),
        ]),
  ];
  const isSound = left.length === 0;
  const without = entriesByTable(census.unalignedZeros);
  // A refcount that stays too low is no ground for a flag.
  const isFlagged = scope.isAll || isSound;
  const { copied, unset } = isFlagged
    ? await copiedIntents(image, without, changes, scope, onTable)
    : { copied: { clear: [], set: [] }, unset: 0 };
  const locations = snapshots.readable.map(({ l1 }) => l1);
  const streams = isFlagged ? await wrongStreamFlags(image, locations, without, onTable) : [];
  const hardened: CopiedIntents = { clear: [], set: [] };
  for (const { l1: location, hasFlags } of snapshots.readable) {
    if (!hasFlags) continue;
    const l1 = await readL1Table(disk, geometry, location);
    // To qemu-img check an entry with nothing but the flag is an L2 table at 0, where the header is.
    const isWanted = (target: number): boolean => operation.harden === true || target === 0;
    clearedInL1(l1, geometry.l1EntriesPerCluster, isWanted, hardened);
  }

  // As long as it is set, QEMU's next writer repairs by itself, and frees what a snapshot that it cannot read owns.
  const notDirty = header.dirty && (scope.isAll || isSound);
  const notCorrupt = header.corrupt && isSound;
  const mended: Mended = {
    leakedClusters: differences.leakedClusters,
    refcountsTooHigh: differences.tooHigh,
    refcountsTooLow: differences.tooLow,
    clustersUncounted: differences.uncounted,
    copiedFlags: countFlags(copied),
    snapshotFlags: countFlags(hardened),
    compressedFlags: countFlags({ clear: streams, set: [] }),
    zeroClusters: zeros.length,
    refcountBlocks: missing.length,
    refcountTable: growth.table !== undefined,
    snapshotTable: scope.isPointerWrong,
    snapshotEntries: table === undefined ? 0 : incomplete.length,
    snapshotEntriesCut: scope.cut,
    snapshotEntriesLost: lost,
    ...droppedSnapshots(scope.dropped.map(({ snapshot }) => snapshot)),
    dirtyBit: notDirty,
    corruptBit: notCorrupt,
  };
  const findings = [
    ...(notDirty ? ["the image was not closed cleanly (its dirty bit is set)"] : []),
    ...(notCorrupt ? ["the image is marked corrupt"] : []),
    ...scope.limits,
    ...words.damaged(scope.dropped),
    ...(scope.isAll ? believed.findings : []),
    ...(missing.length > believed.damagedSlots ? [`${missing.length} refcount blocks are missing`] : []),
    ...(table === undefined ? [] : words.incomplete(incomplete)),
    ...words.zeros(zeros),
    ...differences.findings,
    ...words.flags(copied),
    ...words.streamFlags(streams),
  ].slice(0, words.MAX_FINDINGS);

  const reserve: Intent[] = [...refcounts.reserve];
  if (table !== undefined && table.bytes.length > 0) {
    reserve.push(fill(table.offset, table.bytes));
  }
  return {
    outcomes: [
      {
        type: "repair",
        mended,
        findings,
        left: [...left, ...words.leftFlags(unset), ...words.leftMarks(header, notDirty, notCorrupt)],
      },
    ],
    fileSize: { from: image.fileSize, to: grownTo(image, space.end) },
    phases: {
      reserve: inFileOrder(reserve),
      raise: PackedIntents.of(refcounts.raise, copied.clear, streams, hardened.clear, zeroIntents(zeros)),
      switch: headerIntents(header, image.cluster, {
        virtualSize: header.virtualSize,
        l1Size: header.l1Size,
        l1TableOffset: header.l1TableOffset,
        refcountTableOffset: growth.table?.offset ?? header.refcountTableOffset,
        refcountTableClusters: growth.table?.clusters ?? header.refcountTableClusters,
        snapshotCount: scope.kept.length,
        snapshotsOffset: table?.offset ?? header.snapshotsOffset,
        notDirty,
        notCorrupt,
      }),
      lower: PackedIntents.of(refcounts.lower, copied.set),
      discard: refcounts.discards.intents(),
    },
    ...(scope.stays.length > 0
      ? {}
      : { snapshots: table === undefined ? scope.kept.map(({ entry }) => entry) : entries }),
    summary: {
      clusterSize: geometry.clusterSize,
      clustersAllocated: space.taken.size,
      clustersFreed: refcounts.discards.clusters,
      tablesCounted: tables,
      refcountsChanged: changes.count(),
      copiedFlagsChanged: mended.copiedFlags + mended.snapshotFlags + mended.compressedFlags,
    },
  };
}

function entriesByTable(zeros: readonly UnalignedZero[]): Map<number, number[]> {
  const tables = new Map<number, number[]>();
  for (const { table, entry } of zeros) {
    const entries = tables.get(table);
    if (entries === undefined) tables.set(table, [entry]);
    else entries.push(entry);
  }
  return tables;
}

/** The flags that can be made to fit while other damage stays. */
async function copiedIntents(
  image: Image,
  without: ReadonlyMap<number, readonly number[]>,
  changes: Parameters<typeof wrongFlags>[1],
  scope: RepairScope,
  onTable?: () => void,
): Promise<{ readonly copied: CopiedIntents; readonly unset: number }> {
  const copied = await wrongFlags(image, changes, without, onTable);
  // A clear flag costs a copy. A set one lets a guest write over what a snapshot that cannot be read may own too.
  if (scope.stays.length === 0) return { copied, unset: 0 };
  const cleared = { clear: copied.clear, set: [] };
  return { copied: cleared, unset: countFlags(copied) - countFlags(cleared) };
}
