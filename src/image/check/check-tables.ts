import type { Disk } from "../../disk/index.ts";
import { clustersFor } from "../../format/index.ts";
import { contradictions } from "../contradictions.ts";
import type { ImageHead } from "../image.ts";
import { type PassOptions, checkInPasses } from "./check-in-passes.ts";
import { checkRoots } from "./check-roots.ts";
import type { CheckContext } from "./context.ts";
import { type Finding, Findings } from "./findings.ts";
import { withOwners } from "./owners.ts";
import { CHECK_MEMORY, type CheckMemory } from "./passes.ts";
import { StoredRefcounts } from "./stored-refcounts.ts";
import { type Usage, measureUsage } from "./usage.ts";

export interface CheckTablesOptions extends PassOptions {
  /** Called between pieces of work; what it throws ends the check. */
  readonly checkpoint?: () => void;
  /** The report does not depend on it. */
  readonly memory?: CheckMemory;
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
 * after each finding, and reads each table once; twice or more when the image is so
 * large that what is counted does not fit in the memory of one pass.
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
    buffers: [],
    memory: options.memory ?? CHECK_MEMORY,
    checkpoint: options.checkpoint ?? (() => undefined),
  };
  checkMarks(context);
  const stored = await StoredRefcounts.read(disk, header, fileSize);
  const pass = await checkInPasses(context, stored, options);
  if (context.rootsUnknown) {
    const what =
      "not all snapshots could be read: what looks leaked may be theirs, and is not counted as leaked";
    findings.add("note", "summary", () => ({ where: "snapshot table", what }));
  }
  const usage = options.usage === true ? await measureUsage(context, pass) : undefined;
  const { comparison, mapping } = pass;
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
    findings: await withOwners(context, stored, pass),
    findingsLeftOut: findings.leftOut,
    ...(usage === undefined ? {} : { usage }),
  };
}

/** What the header says and no table can answer for. */
function checkMarks({ head, findings }: CheckContext): void {
  const { header } = head;
  const where = "header";
  if (header.dirty) {
    findings.add("note", "structures", () => ({
      where,
      what: "the dirty bit is set: refcounts may be out of date",
    }));
  }
  if (header.corrupt) {
    findings.add("note", "structures", () => ({
      where,
      what: "the corrupt bit is set: qemu opens it for reading only",
    }));
  }
  for (const what of contradictions(head)) findings.add("error", "structures", () => ({ where, what }));
}
