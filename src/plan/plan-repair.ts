/**
 * Plans the repair of a fenced image whose journal is lost. What a transaction
 * leaves at any moment is the old state or the new one with refcounts that are
 * too high and COPIED flags that do not fit; a census of the tables finds both.
 * Anything else has another cause, and is refused: a scan cannot know what the
 * image should be.
 */
import { QcowalError } from "../errors/index.ts";
import {
  type Census,
  type Image,
  type Refcounts,
  readL1Table,
  readRefcounts,
  readTables,
  takeCensus,
} from "../image/index.ts";
import type { PhasedIntents } from "../intent/index.ts";
import { type CopiedIntents, copiedInL1, copiedInL2, countFlags } from "./copied-intents.ts";
import { discardIntents } from "./discard-intents.ts";
import { inFileOrder } from "./in-file-order.ts";
import { RefcountChanges } from "./refcount-changes.ts";
import { refcountIntents } from "./refcount-intents.ts";

export interface RepairPlan {
  /** Flags that clear, then refcounts that shrink and flags that set, then what is freed. */
  readonly phases: PhasedIntents;
  readonly summary: RepairSummary;
}

export interface RepairSummary {
  readonly clusterSize: number;
  /** Clusters to which nothing refers. */
  readonly clustersFreed: number;
  /** Refcounts that were too high, those of freed clusters included. */
  readonly refcountsLowered: number;
  readonly copiedFlagsChanged: number;
}

/** Largest difference that is still believed to be a leak. */
const MAX_LEAK = 2 ** 31 - 1;

/** @throws QcowalError IMAGE_INVALID, IMAGE_DAMAGED with `findings`; LIMIT_EXCEEDED */
export async function planRepair(image: Image): Promise<RepairPlan> {
  const { disk, header } = image;
  const { geometry } = header;
  refuseForeign(image);
  const refcounts = await readRefcounts(disk, header, image.fileSize);
  const census = await takeCensus(image, refcounts);
  const changes = leaksOf(disk.path, census, refcounts);
  if (census.findings.length > 0) throw irreparable(disk.path, census.findings);

  const copied = await wrongFlags(image, changes);
  const lowered = refcountIntents(changes, { blocks: new Map(), table: undefined });
  return {
    phases: {
      reserve: [],
      raise: inFileOrder(copied.clear),
      switch: [],
      lower: inFileOrder([...lowered.lower, ...copied.set]),
      discard: discardIntents(lowered.freed, geometry.clusterSize),
    },
    summary: {
      clusterSize: geometry.clusterSize,
      clustersFreed: lowered.freed.length,
      refcountsLowered: changes.count(),
      copiedFlagsChanged: countFlags(copied),
    },
  };
}

/** No transaction begins on such an image, and none makes one. */
function refuseForeign({ header, disk }: Image): void {
  const findings = [
    ...(header.dirty ? ["the dirty bit is set"] : []),
    ...(header.corrupt ? ["the corrupt bit is set"] : []),
    ...(header.externalDataFile ? ["its data is in an external file"] : []),
  ];
  if (findings.length > 0) throw irreparable(disk.path, findings);
}

/** What has to be taken from each refcount. One that is too low becomes a finding of the census. */
function leaksOf(path: string, census: Census, refcounts: Refcounts): RefcountChanges {
  const changes = new RefcountChanges(path, refcounts);
  const { refcountEntries } = census.geometry;
  const stored = [...refcounts.table.keys()].filter((index) => refcounts.table[index] !== 0);
  for (const index of new Set([...stored, ...census.blockIndexes])) {
    const counts = census.counts(index);
    for (let entry = 0; entry < refcountEntries; entry += 1) {
      const cluster = index * refcountEntries + entry;
      const refcount = refcounts.get(cluster);
      const references = counts?.[entry] ?? 0;
      if (refcount === references) continue;
      const leak = refcount - references;
      if (leak < 0 || leak > MAX_LEAK) {
        census.find(`cluster ${cluster} has refcount ${refcount} and ${references} references`);
      } else changes.add(cluster, -leak);
    }
  }
  return changes;
}

/** COPIED flags of the active layer that do not say what the refcounts will. */
export async function wrongFlags(
  { disk, header }: Image,
  changes: RefcountChanges,
  onTable?: () => void,
): Promise<CopiedIntents> {
  const { geometry } = header;
  const result: CopiedIntents = { clear: [], set: [] };
  const l1 = await readL1Table(disk, geometry, { offset: header.l1TableOffset, entries: header.l1Size });
  copiedInL1(changes, l1, result);
  const targets = [...new Set(l1.targets)].filter((target) => target !== 0).toSorted((a, b) => a - b);
  for await (const { offset, words } of readTables(disk, targets, geometry.clusterSize)) {
    onTable?.();
    copiedInL2(changes, offset, words, result);
  }
  return result;
}

function irreparable(path: string, findings: readonly string[]): QcowalError {
  return new QcowalError(
    "IMAGE_DAMAGED",
    `${path} shows what no interrupted operation leaves: ${findings.join("; ")}. Nothing was changed, the fence stays; restore the journal ('qcowal recover') or the image.`,
    { details: { path, findings } },
  );
}
