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
import { type Image, readL1Table } from "../image/index.ts";
import { type Intent, PackedIntents } from "../intent/index.ts";
import { ActiveFlags } from "./active-flags.ts";
import { clearedInL1 } from "./copied-intents.ts";
import { droppedSnapshots } from "./dropped-snapshots.ts";
import { FoundFlags } from "./found-flags.ts";
import { withSoughtSnapshotTable } from "./found-snapshot-table.ts";
import { grownTo } from "./grown-to.ts";
import { headerIntents } from "./header-intent.ts";
import type { ImagePlan } from "./image-plan.ts";
import { inFileOrder } from "./in-file-order.ts";
import { misplacedTable, withoutDisplacedEntries } from "./misplaced-snapshot-table.ts";
import type { Mended, RepairOperation } from "./operation.ts";
import { placeSnapshotTable } from "./placed-table.ts";
import { addRefcountIntents, newTableIntent, noRefcountIntents } from "./refcount-intents.ts";
import { type StoredBytes, giveUp, refcountTableOf } from "./released.ts";
import { RepairChanges } from "./repair-changes.ts";
import * as words from "./repair-findings.ts";
import type { RepairOptions } from "./repair-options.ts";
import { believedRefcounts } from "./repair-refcounts.ts";
import type { RepairScope } from "./repair-scope.ts";
import { type RepairTables, repairTables } from "./repair-tables.ts";
import { Space } from "./space.ts";
import { wrongStreamFlags } from "./stream-flags.ts";

/** @throws QcowalError IMAGE_DAMAGED with `findings` for what cannot be mended, IMAGE_UNSUPPORTED, REFCOUNT_OVERFLOW, LIMIT_EXCEEDED */
export async function planRepairOperation(
  image: Image,
  operation: RepairOperation,
  options: RepairOptions,
): Promise<ImagePlan> {
  const { disk, header } = image;
  if (header.externalDataFile) {
    throw new QcowalError(
      "IMAGE_UNSUPPORTED",
      `${disk.path} keeps its data in an external file, which a repair does not know. Nothing was changed; see 'qcowal check'.`,
    );
  }
  try {
    return await planSeeking(image, operation, options);
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
  options: RepairOptions,
): Promise<ImagePlan> {
  const misplaced = misplacedTable(image);
  if (misplaced !== undefined) {
    return plan(await withSoughtSnapshotTable(image, misplaced, options), operation, options);
  }
  try {
    return await plan(image, operation, options);
  } catch (error) {
    // What was read from a wrong place contradicts everything else.
    const isRefused = isQcowalError(error, "IMAGE_DAMAGED") || isQcowalError(error, "IMAGE_INVALID");
    const without = isRefused ? await withoutDisplacedEntries(image, options) : undefined;
    if (without === undefined) throw error;
    return plan(without, operation, options);
  }
}

async function plan(image: Image, operation: RepairOperation, options: RepairOptions): Promise<ImagePlan> {
  const { disk, header } = image;
  const { geometry } = header;
  const { onTable } = options;
  const counted = await repairTables(image, operation, options);
  const { scope, census, zeros } = counted;
  const believed = await believedRefcounts(image, census, counted.storedTable, options);
  const isBelieved = !believed.newTable && believed.damagedSlots === 0;
  if (!isBelieved && (await withoutDisplacedEntries(image, options)) !== undefined) {
    throw words.irreparable(disk.path, words.refcountBlocks(believed.findings, believed.wrong));
  }
  const repairChanges = new RepairChanges(
    disk.path,
    census,
    believed.windows,
    {
      raise: scope.isAll,
      // With `leaks`, what a slot or an entry at an odd place means to name looks leaked, and may be all that is left of it.
      lower: scope.stays.length === 0 && (scope.isAll || (isBelieved && zeros.count === 0)),
    },
    options.windowBytes,
  );
  const differences = await repairChanges.totals();
  if (census.findings.length > 0) throw words.irreparable(disk.path, census.findings);
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

  const { missing } = differences;
  const isRebuilt = scope.isAll && (missing.length > 0 || !isBelieved);
  if (isRebuilt && scope.stays.length > 0) {
    throw words.refusal(
      disk.path,
      [...words.damaged(scope.stays), ...words.refcountBlocks(believed.findings, believed.wrong)],
      scope.stays,
    );
  }
  // Where refcounts are missing, nobody knows what else is written there; nor where a snapshot cannot be read.
  const isUncertain = believed.newTable || scope.stays.length > 0;
  const space = new Space(
    differences.free,
    believed.windows.stored,
    isUncertain ? Math.ceil(image.fileSize / geometry.clusterSize) : 0,
  );
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
  const growth = await space.growRefcounts({ missing, newTable: scope.isAll && believed.newTable });
  const replaced: StoredBytes[] = [
    // A snapshot that contradicts the rest may say that it has these clusters.
    ...(table !== undefined && scope.stays.length === 0
      ? [{ offset: header.snapshotsOffset, length: image.snapshotTable.bytes }]
      : []),
    ...(growth.table !== undefined && believed.tableCounted ? [refcountTableOf(header)] : []),
  ];

  const left = [
    ...words.stays(scope.stays),
    ...words.leftRefcounts(differences.left, scope),
    ...(scope.isAll
      ? []
      : [
          ...words.refcountBlocks(believed.findings, believed.wrong),
          ...words.incomplete(incomplete),
          ...words.zeros(zeros),
        ]),
  ];
  const isSound = left.length === 0;
  // A refcount that stays too low is no ground for a flag.
  const isFlagged = scope.isAll || isSound;
  const active = isFlagged ? await ActiveFlags.of(image, zeros.count > 0, onTable) : undefined;
  const refcounts = noRefcountIntents(image);
  let refcountsChanged = 0;
  for await (const changes of repairChanges.all()) {
    for (const cluster of space.taken) if (changes.covers(cluster)) changes.take(cluster);
    giveUp(changes, replaced);
    addRefcountIntents(changes, growth, refcounts);
    await active?.compare(changes);
    refcountsChanged += changes.count();
  }
  if (growth.table !== undefined) refcounts.reserve.push(newTableIntent(believed.windows.stored, growth));
  const copied = activeFlags(active, scope);
  const streams = isFlagged
    ? await wrongStreamFlags(image, census.tables, zeros.count > 0, onTable)
    : new FoundFlags();
  const hardened = await hardenedFlags(image, operation, counted);
  const mendedZeros = scope.isAll ? zeros.count : 0;

  // As long as it is set, QEMU's next writer repairs by itself, and frees what a snapshot that it cannot read owns.
  const notDirty = header.dirty && (scope.isAll || isSound);
  const notCorrupt = header.corrupt && isSound;
  const mended: Mended = {
    leakedClusters: differences.leakedClusters,
    refcountsTooHigh: differences.tooHigh,
    refcountsTooLow: differences.tooLow,
    clustersUncounted: differences.uncounted,
    copiedFlags: copied.flags,
    snapshotFlags: hardened.flags,
    compressedFlags: streams.flags,
    zeroClusters: mendedZeros,
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
    ...(scope.isAll ? words.zeros(zeros) : []),
    ...differences.findings,
    ...words.flags(copied.flags, copied.first),
    ...words.streamFlags(streams),
  ].slice(0, words.MAX_FINDINGS);

  const reserve: Intent[] = [...refcounts.reserve];
  reserve.push(...(table?.fills ?? []));
  return {
    outcomes: [
      {
        type: "repair",
        mended,
        findings,
        left: [...left, ...words.leftFlags(copied.unset), ...words.leftMarks(header, notDirty, notCorrupt)],
      },
    ],
    fileSize: { from: image.fileSize, to: grownTo(image, space.end) },
    phases: {
      reserve: inFileOrder(reserve),
      raise: PackedIntents.of(
        refcounts.raise,
        ...copied.clear,
        streams.intents,
        hardened.intents,
        scope.isAll ? zeros.intents() : [],
      ),
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
      lower: PackedIntents.of(refcounts.lower, ...copied.set),
      discard: refcounts.discards.intents(),
    },
    ...(scope.stays.length > 0
      ? {}
      : { snapshots: table === undefined ? scope.kept.map(({ entry }) => entry) : entries }),
    summary: {
      clusterSize: geometry.clusterSize,
      clustersAllocated: space.taken.size,
      clustersFreed: refcounts.discards.clusters,
      tablesCounted: census.tables.length,
      refcountsChanged,
      copiedFlagsChanged: mended.copiedFlags + mended.snapshotFlags + mended.compressedFlags,
    },
  };
}

/** The flags that can be made to fit while other damage stays. */
function activeFlags(active: ActiveFlags | undefined, scope: RepairScope) {
  if (active === undefined) return { clear: [], set: [], flags: 0, unset: 0, first: undefined };
  const { clear, set, clearFlags, setFlags, first, firstClear } = active.wrong();
  // A clear flag costs a copy. A set one lets a guest write over what a snapshot that cannot be read may own too.
  if (scope.stays.length > 0)
    return { clear, set: [], flags: clearFlags, unset: setFlags, first: firstClear };
  return { clear, set, flags: clearFlags + setFlags, unset: 0, first };
}

/** Flags that are cleared in L1 tables of snapshots. */
async function hardenedFlags(
  { disk, header: { geometry } }: Image,
  operation: RepairOperation,
  { snapshots }: RepairTables,
): Promise<FoundFlags> {
  const found = new FoundFlags();
  for (const { l1: location, hasFlags } of snapshots.readable) {
    if (!hasFlags) continue;
    const l1 = await readL1Table(disk, geometry, location);
    // To qemu-img check an entry with nothing but the flag is an L2 table at 0, where the header is.
    const isWanted = (target: number): boolean => operation.harden === true || target === 0;
    clearedInL1(l1, geometry.l1EntriesPerCluster, isWanted, { clear: found, set: [] });
  }
  return found;
}
