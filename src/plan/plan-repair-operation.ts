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
import { type Census, type Image, readL1Table, takeCensus } from "../image/index.ts";
import { type Intent, PackedIntents, fill } from "../intent/index.ts";
import { type CopiedIntents, clearedInL1, countFlags } from "./copied-intents.ts";
import { grownTo } from "./grown-to.ts";
import { withFoundSnapshotTable } from "./found-snapshot-table.ts";
import { headerIntents } from "./header-intent.ts";
import type { ImagePlan } from "./image-plan.ts";
import { inFileOrder } from "./in-file-order.ts";
import type { Mended, RepairOperation } from "./operation.ts";
import { padded, placeSnapshotTable } from "./placed-table.ts";
import { readableSnapshots } from "./readable-snapshots.ts";
import { refcountDifferences } from "./refcount-differences.ts";
import { refcountIntents } from "./refcount-intents.ts";
import * as words from "./repair-findings.ts";
import { believedRefcounts } from "./repair-refcounts.ts";
import { type RepairScope, repairScope } from "./repair-scope.ts";
import { Space } from "./space.ts";
import { wrongFlags } from "./wrong-flags.ts";
import { zeroIntents } from "./zero-intents.ts";

/** More findings say no more. */
const MAX_FINDINGS = 10;

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
    return await plan(image, operation, options.onTable);
  } catch (cause) {
    // Tables that break the format are findings like any other.
    if (!isQcowalError(cause, "IMAGE_INVALID")) throw cause;
    throw irreparable(disk.path, [cause.message.replace(/\. Nothing was changed.*$/s, "")], cause);
  }
}

async function plan(
  given: Image,
  operation: RepairOperation,
  onTable: (() => void) | undefined,
): Promise<ImagePlan> {
  const isLost = given.header.rescued?.snapshotTable !== undefined && given.header.snapshotCount > 0;
  const image = isLost ? ((await withFoundSnapshotTable(given, onTable)) ?? given) : given;
  const { disk, header } = image;
  const { geometry } = header;
  const snapshots = await readableSnapshots(image);
  const scope = repairScope(image, snapshots, operation);
  const counted: Image = {
    ...image,
    snapshotTable: { ...image.snapshotTable, snapshots: snapshots.readable.map(({ snapshot }) => snapshot) },
  };
  let tables = 0;
  const census = await takeCensus(counted, undefined, () => {
    tables += 1;
    onTable?.();
  });
  const believed = await believedRefcounts(image, census, onTable);
  const isBelieved = !believed.newTable && believed.damagedSlots === 0;
  const differences = refcountDifferences(disk.path, census, believed.refcounts, {
    raise: scope.isAll,
    // With `leaks`, what a slot or an entry at an odd place means to name looks leaked, and may be all that is left of it.
    lower: scope.stays.length === 0 && (scope.isAll || (isBelieved && census.unalignedZeros.length === 0)),
  });
  if (census.findings.length > 0) throw irreparable(disk.path, census.findings);
  const { changes } = differences;
  // Refcounts that cannot be believed confirm nothing.
  const isConfirmed =
    isBelieved &&
    differences.uncounted + differences.leakedClusters + differences.tooHigh === 0 &&
    (header.rescued?.snapshotTable === undefined || differences.tooLow === 0);
  if (scope.isDoubtful && !isConfirmed) {
    throw words.refusal(disk.path, [...scope.limits, ...differences.findings].slice(0, MAX_FINDINGS), []);
  }

  const missing = changes.blockIndexes.filter((index) => believed.refcounts.block(index) === undefined);
  const isRebuilt = scope.isAll && (missing.length > 0 || !isBelieved);
  if (isRebuilt && scope.stays.length > 0) {
    throw words.refusal(disk.path, [...words.damaged(scope.stays), ...believed.findings], scope.stays);
  }
  // Where refcounts are missing, nobody knows what else is written there; nor where a snapshot cannot be read.
  const isUncertain = believed.newTable || scope.stays.length > 0;
  const space = new Space(changes, isUncertain ? Math.ceil(image.fileSize / geometry.clusterSize) : 0);
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
    scope.isAll && incomplete.length + scope.dropped.length + scope.cut + scope.lost > 0
      ? placeSnapshotTable(image, entries, space, changes)
      : undefined;
  if (table !== undefined) giveUp(header.snapshotsOffset, image.snapshotTable.bytes);
  const growth = space.growRefcounts(scope.isAll && believed.newTable);
  if (growth.table !== undefined && believed.tableCounted) {
    giveUp(header.refcountTableOffset, header.refcountTableClusters * geometry.clusterSize);
  }
  const refcounts = refcountIntents(changes, growth, image.fileSize);
  const zeros = scope.isAll ? census.unalignedZeros : [];

  const left = [
    ...words.stays(scope.stays),
    ...words.leftRefcounts(differences.left, scope),
    ...(scope.isAll
      ? []
      : [...believed.findings, ...words.incomplete(incomplete), ...words.zeros(census.unalignedZeros)]),
  ];
  const isSound = left.length === 0;
  const { copied, unset } = await copiedIntents(image, census, changes, scope, isSound, onTable);
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
    zeroClusters: zeros.length,
    refcountBlocks: missing.length,
    refcountTable: growth.table !== undefined,
    snapshotTable: scope.isPointerWrong,
    snapshotEntries: table === undefined ? 0 : incomplete.length,
    snapshotEntriesCut: scope.cut,
    snapshotEntriesLost: scope.lost,
    snapshotsDropped: scope.dropped.map(({ snapshot: { id, name } }) => ({ id, name })),
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
  ].slice(0, MAX_FINDINGS);

  const reserve: Intent[] = [...refcounts.reserve];
  if (table !== undefined && table.bytes.length > 0) {
    reserve.push(fill(table.offset, padded(geometry.clusterSize, table.bytes)));
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
      raise: PackedIntents.of(refcounts.raise, copied.clear, hardened.clear, zeroIntents(zeros)),
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
    summary: {
      clusterSize: geometry.clusterSize,
      clustersAllocated: space.allocated,
      clustersFreed: refcounts.discards.clusters,
      tablesCounted: tables,
      refcountsChanged: changes.count(),
      copiedFlagsChanged: countFlags(copied) + countFlags(hardened),
    },
  };
}

/** The flags that can be made to fit while other damage stays. */
async function copiedIntents(
  image: Image,
  { unalignedZeros }: Census,
  changes: Parameters<typeof wrongFlags>[1],
  scope: RepairScope,
  isSound: boolean,
  onTable?: () => void,
): Promise<{ readonly copied: CopiedIntents; readonly unset: number }> {
  // A refcount that stays too low is no ground for a flag.
  if (!scope.isAll && !isSound) return { copied: { clear: [], set: [] }, unset: 0 };
  const without = new Map<number, number[]>();
  for (const { table, entry } of unalignedZeros) {
    const entries = without.get(table);
    if (entries === undefined) without.set(table, [entry]);
    else entries.push(entry);
  }
  const copied = await wrongFlags(image, changes, without, onTable);
  // A clear flag costs a copy. A set one lets a guest write over what a snapshot that cannot be read may own too.
  if (scope.stays.length === 0) return { copied, unset: 0 };
  const cleared = { clear: copied.clear, set: [] };
  return { copied: cleared, unset: countFlags(copied) - countFlags(cleared) };
}

function irreparable(path: string, findings: readonly string[], cause?: unknown): QcowalError {
  return new QcowalError(
    "IMAGE_DAMAGED",
    `${path} shows damage that a repair cannot mend: ${findings.join("; ")}. Nothing was changed; restore the image from a copy.`,
    { cause, details: { path, findings } },
  );
}
