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
import { type Image, readL1Table, takeCensus } from "../image/index.ts";
import { type Intent, fill } from "../intent/index.ts";
import { type CopiedIntents, clearedInL1, countFlags } from "./copied-intents.ts";
import { discardIntents } from "./discard-intents.ts";
import { grownTo } from "./grown-to.ts";
import { headerIntents } from "./header-intent.ts";
import type { ImagePlan } from "./image-plan.ts";
import { inFileOrder } from "./in-file-order.ts";
import type { Mended, RepairOperation } from "./operation.ts";
import { padded, placeSnapshotTable } from "./placed-table.ts";
import { type ReadableSnapshots, readableSnapshots } from "./readable-snapshots.ts";
import { refcountDifferences } from "./refcount-differences.ts";
import { refcountIntents } from "./refcount-intents.ts";
import { believedRefcounts } from "./repair-refcounts.ts";
import { Space } from "./space.ts";
import { wrongFlags } from "./wrong-flags.ts";

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
      `${disk.path} keeps its data in an external file, which a repair does not know. Nothing was changed; see 'qemu-img check'.`,
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
  image: Image,
  operation: RepairOperation,
  onTable: (() => void) | undefined,
): Promise<ImagePlan> {
  const { disk, header } = image;
  const { geometry } = header;
  const snapshots = await readableSnapshots(image);
  const { cut, lost } = image.snapshotTable.rescued ?? { cut: 0, lost: 0 };
  const limits = limitFindings(cut, lost);
  refuseDamaged(disk.path, snapshots, limits, operation);
  const kept = snapshots.readable.map(({ snapshot }) => snapshot);
  const counted: Image = { ...image, snapshotTable: { ...image.snapshotTable, snapshots: kept } };
  let tables = 0;
  const census = await takeCensus(counted, undefined, () => {
    tables += 1;
    onTable?.();
  });
  const believed = await believedRefcounts(image, census, onTable);
  const differences = refcountDifferences(disk.path, census, believed.refcounts);
  if (census.findings.length > 0) throw irreparable(disk.path, census.findings);
  const { changes } = differences;

  const missing = changes.blockIndexes.filter((index) => believed.refcounts.block(index) === undefined);
  // Where refcounts are missing, nobody knows what else is written there: what is new goes behind the end of the file.
  const from = believed.newTable ? Math.ceil(image.fileSize / geometry.clusterSize) : 0;
  const space = new Space(changes, from);
  // Not `release`: what is replaced may never have been counted, and is mended by that.
  const giveUp = (offset: number, bytes: number): void => {
    for (let at = offset; at < offset + bytes; at += geometry.clusterSize) {
      changes.add(at / geometry.clusterSize, -1);
    }
  };
  const incomplete = geometry.version === 3 ? kept.filter(({ entry }) => entry.diskSize === undefined) : [];
  const entries = kept.map(({ entry }) => ({
    ...entry,
    diskSize: entry.diskSize ?? BigInt(header.virtualSize),
  }));
  const table =
    incomplete.length + snapshots.damaged.length + cut + lost === 0
      ? undefined
      : placeSnapshotTable(image, entries, space, changes);
  if (table !== undefined) giveUp(header.snapshotsOffset, image.snapshotTable.bytes);
  const growth = space.growRefcounts(believed.newTable);
  if (growth.table !== undefined && believed.tableCounted) {
    giveUp(header.refcountTableOffset, header.refcountTableClusters * geometry.clusterSize);
  }
  const refcounts = refcountIntents(changes, growth);
  const copied = await wrongFlags(image, changes, onTable);
  const hardened: CopiedIntents = { clear: [], set: [] };
  for (const { l1: location, hasFlags } of snapshots.readable) {
    if (!hasFlags) continue;
    const l1 = await readL1Table(disk, geometry, location);
    // To qemu-img check an entry with nothing but the flag is an L2 table at 0, where the header is.
    const isWanted = (target: number): boolean => operation.harden === true || target === 0;
    clearedInL1(l1, geometry.l1EntriesPerCluster, isWanted, hardened);
  }

  const mended: Mended = {
    leakedClusters: differences.leakedClusters,
    refcountsTooHigh: differences.tooHigh,
    refcountsTooLow: differences.tooLow,
    copiedFlags: countFlags(copied),
    snapshotFlags: countFlags(hardened),
    refcountBlocks: missing.length,
    refcountTable: growth.table !== undefined,
    snapshotEntries: incomplete.length,
    snapshotEntriesCut: cut,
    snapshotEntriesLost: lost,
    snapshotsDropped: snapshots.damaged.map(({ snapshot: { id, name } }) => ({ id, name })),
    dirtyBit: header.dirty,
    corruptBit: header.corrupt,
  };
  const findings = [
    ...(header.dirty ? ["the image was not closed cleanly (its dirty bit is set)"] : []),
    ...(header.corrupt ? ["the image is marked corrupt"] : []),
    ...limits,
    ...snapshots.damaged.map(({ why }) => why),
    ...believed.findings,
    ...(missing.length > believed.damagedSlots ? [`${missing.length} refcount blocks are missing`] : []),
    ...incomplete.map(
      ({ id, name }) => `the entry of snapshot ${JSON.stringify(name)} (id ${id}) is incomplete`,
    ),
    ...differences.findings,
    ...flagFindings(copied),
  ].slice(0, MAX_FINDINGS);
  if (operation.what === "leaks") refuseMore(disk.path, mended, findings);

  const reserve: Intent[] = [...refcounts.reserve];
  if (table !== undefined && table.bytes.length > 0) {
    reserve.push(fill(table.offset, padded(geometry.clusterSize, table.bytes)));
  }
  return {
    outcomes: [{ type: "repair", mended, findings }],
    fileSize: { from: image.fileSize, to: grownTo(image, space.end) },
    phases: {
      reserve: inFileOrder(reserve),
      raise: inFileOrder([...refcounts.raise, ...copied.clear, ...hardened.clear]),
      switch: headerIntents(header, image.cluster, {
        virtualSize: header.virtualSize,
        l1Size: header.l1Size,
        l1TableOffset: header.l1TableOffset,
        refcountTableOffset: growth.table?.offset ?? header.refcountTableOffset,
        refcountTableClusters: growth.table?.clusters ?? header.refcountTableClusters,
        snapshotCount: kept.length,
        snapshotsOffset: table?.offset ?? header.snapshotsOffset,
        marksSound: true,
      }),
      lower: inFileOrder([...refcounts.lower, ...copied.set]),
      discard: discardIntents(refcounts.freed, geometry.clusterSize, image.fileSize),
    },
    summary: {
      clusterSize: geometry.clusterSize,
      clustersAllocated: space.allocated,
      clustersFreed: refcounts.freed.length,
      tablesCounted: tables,
      refcountsChanged: changes.count(),
      copiedFlagsChanged: countFlags(copied) + countFlags(hardened),
    },
  };
}

/** Clusters of a snapshot that cannot be counted look leaked; freeing them would be the end of it. */
function refuseDamaged(
  path: string,
  { damaged }: ReadableSnapshots,
  limits: readonly string[],
  { dropDamagedSnapshots }: RepairOperation,
): void {
  const findings = [...limits, ...damaged.map(({ why }) => why)];
  if (findings.length === 0 || dropDamagedSnapshots === true) return;
  throw new QcowalError(
    "IMAGE_DAMAGED",
    `${path}: ${findings.join("; ")}. What only such a snapshot refers to cannot be told from leaks. Nothing was changed; restore the image from a copy, or give up what cannot be read ('qcowal repair --drop-damaged-snapshots').`,
    {
      details: { path, findings, snapshots: damaged.map(({ snapshot: { id, name } }) => ({ id, name })) },
    },
  );
}

function limitFindings(cut: number, lost: number): string[] {
  const entries = (count: number): string => (count === 1 ? "1 entry" : `${count} entries`);
  return [
    ...(cut === 0 ? [] : [`${entries(cut)} of the snapshot table with more extra data than QEMU reads`]),
    ...(lost === 0 ? [] : [`${entries(lost)} of the snapshot table behind the 64 MiB that QEMU reads`]),
  ];
}

/** With `leaks`: on an image with other damage, what looks leaked may be what is missing elsewhere. */
function refuseMore(path: string, mended: Mended, findings: readonly string[]): void {
  const { refcountsTooLow, refcountBlocks, refcountTable, snapshotEntries, dirtyBit, corruptBit } = mended;
  const more =
    refcountsTooLow + refcountBlocks + snapshotEntries > 0 || refcountTable || dirtyBit || corruptBit;
  if (!more) return;
  throw new QcowalError(
    "IMAGE_DAMAGED",
    `${path} has more than leaks: ${findings.join("; ")}. Nothing was changed; 'qcowal repair' mends that too.`,
    { details: { path, findings } },
  );
}

function flagFindings(copied: CopiedIntents): string[] {
  const flags = countFlags(copied);
  const [first] = [...copied.clear, ...copied.set];
  if (first === undefined) return [];
  return [
    `${flags} COPIED flag${flags === 1 ? "" : "s"} of the active layer are wrong, the first in the table at 0x${first.table.toString(16)}`,
  ];
}

function irreparable(path: string, findings: readonly string[], cause?: unknown): QcowalError {
  return new QcowalError(
    "IMAGE_DAMAGED",
    `${path} shows damage that a repair cannot mend: ${findings.join("; ")}. Nothing was changed; restore the image from a copy.`,
    { cause, details: { path, findings } },
  );
}
