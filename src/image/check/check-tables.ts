import type { Disk } from "../../disk/index.ts";
import { clustersFor } from "../../format/index.ts";
import { contradictions } from "../contradictions.ts";
import type { ImageHead } from "../image.ts";
import { checkRoots } from "./check-roots.ts";
import { claimStructures } from "./claim-structures.ts";
import { checkRefcountBlocks, compareRefcounts } from "./compare.ts";
import type { CheckContext } from "./context.ts";
import { type Finding, Findings } from "./findings.ts";
import { walkL1Tables } from "./l1-walk.ts";
import { OUTSIDE, walkL2Tables } from "./l2-walk.ts";
import { withOwners } from "./owners.ts";
import { OWNER, ReferenceCounts } from "./reference-counts.ts";
import { StoredRefcounts } from "./stored-refcounts.ts";
import { type Usage, measureUsage } from "./usage.ts";

export interface CheckTablesOptions {
  /** Say also what each root occupies. */
  readonly usage?: boolean;
  /** Told how far the pass over the L2 tables has come. */
  readonly onTable?: (done: number, total: number) => void;
  /** Called between pieces of work; what it throws ends the check. */
  readonly checkpoint?: () => void;
}

/** What a check found, in the numbers of `qemu-img check` and beyond them. */
export interface CheckedTables {
  readonly clusterSize: number;
  /** What could not be checked. */
  readonly checkErrors: number;
  readonly corruptions: number;
  readonly leaks: number;
  /** Corruptions that qemu-img does not see: clusters that belong to several, with refcounts to match. */
  readonly overlaps: number;
  /** Behind the last cluster that is used. */
  readonly imageEndOffset: number;
  /** Guest clusters of the disk, and those of the active layer that have data. */
  readonly totalClusters: number;
  readonly allocatedClusters: number;
  readonly fragmentedClusters: number;
  readonly compressedClusters: number;
  /** The first thousand. */
  readonly findings: readonly Finding[];
  readonly findingsLeftOut: number;
  readonly usage?: Usage;
}

/**
 * Checks every table of an image by the rules of `qemu-img check`: refcounts
 * against references, COPIED flags, and the form of all structures. Goes on
 * after each finding, and reads each table once.
 */
export async function checkTables(
  disk: Disk,
  head: ImageHead,
  options: CheckTablesOptions = {},
): Promise<CheckedTables> {
  const { header, fileSize } = head;
  const { geometry } = header;
  const findings = new Findings();
  const context: CheckContext = {
    disk,
    head,
    findings,
    ...(await checkRoots(disk, header, findings)),
    checkpoint: options.checkpoint ?? (() => undefined),
  };
  checkMarks(context);
  const stored = await StoredRefcounts.read(disk, header, fileSize);
  const counts = new ReferenceCounts(geometry, fileSize);
  await claimStructures(context, (offset, length, what, weight = 1) => {
    if (counts.claim(offset, length, weight, OWNER.metadata)) return;
    findings.add("corruption", () => ({ where: what, offset, owner: what, what: `${what} ${OUTSIDE}` }));
  });
  const paths = await walkL1Tables(context, stored);
  const mapping = await walkL2Tables(context, paths, counts, stored, options.onTable ?? (() => undefined));
  checkRefcountBlocks(context, counts, stored);
  const comparison = await compareRefcounts(context, counts, stored);
  if (context.rootsUnknown) {
    const what =
      "not all snapshots could be read: what looks leaked may be theirs, and is not counted as leaked";
    findings.add("note", () => ({ where: "snapshot table", what }));
  }
  const usage = options.usage === true ? await measureUsage(context, counts) : undefined;
  return {
    clusterSize: geometry.clusterSize,
    checkErrors: findings.count("error"),
    corruptions: findings.count("corruption"),
    leaks: findings.count("leak"),
    overlaps: comparison.overlaps,
    imageEndOffset: (comparison.highest + 1) * geometry.clusterSize,
    totalClusters: clustersFor(geometry, Math.floor(header.virtualSize / 512) * 512),
    allocatedClusters: mapping.allocated,
    fragmentedClusters: mapping.fragmented,
    compressedClusters: mapping.compressed,
    findings: await withOwners(context, stored),
    findingsLeftOut: findings.leftOut,
    ...(usage === undefined ? {} : { usage }),
  };
}

/** What the header says and no table can answer for. */
function checkMarks({ head, findings }: CheckContext): void {
  const { header } = head;
  const where = "header";
  if (header.dirty) {
    findings.add("note", () => ({ where, what: "the dirty bit is set: refcounts may be out of date" }));
  }
  if (header.corrupt) {
    findings.add("note", () => ({ where, what: "the corrupt bit is set: qemu opens it for reading only" }));
  }
  for (const what of contradictions(head)) findings.add("error", () => ({ where, what }));
}
