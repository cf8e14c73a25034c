import type {
  CheckReport,
  Finding,
  ImageReport,
  Mended,
  QcowalError,
  RepairOutcome,
  RootUsage,
  Usage,
} from "../../index.ts";
import { errorJson } from "../error-json.ts";
import { doneLine, leftLines } from "./operations.ts";
import { bytes, grouped, plural, printable, shownPath, tableLines } from "./text.ts";

const PREFIX = { corruption: "ERROR", error: "ERROR", leak: "Leaked", note: "Note" } as const;

export function findingLine({ kind, where, what, times, owners }: Finding): string {
  const place = where === "refcounts" || where === "overlap" ? "" : `${where}: `;
  const often = times === undefined ? "" : `, counted ${grouped(times)} times`;
  const whose = owners.filter((owner) => !where.includes(owner));
  const belongs = whose.length === 0 ? "" : ` [${whose.join(", ")}]`;
  return printable(`${PREFIX[kind]} ${place}${what}${often}${belongs}`);
}

/** What a repair beside the check did. */
export type CheckRepair =
  | {
      readonly transaction: number;
      readonly journal: string;
      readonly image: ImageReport;
      readonly outcome: RepairOutcome;
    }
  | { readonly refused: QcowalError };

/** What was mended, as `qemu-img check -r` counts it. */
function fixedCounts(mended: Mended): { readonly leaks: number; readonly corruptions: number } {
  return {
    leaks: mended.leakedClusters + mended.refcountsTooHigh,
    corruptions:
      mended.refcountsTooLow +
      mended.clustersUncounted +
      mended.copiedFlags +
      mended.compressedFlags +
      mended.zeroClusters +
      mended.snapshotEntries +
      mended.snapshotEntriesCut +
      mended.snapshotEntriesLost +
      mended.snapshotsDropped.length +
      mended.snapshotsDroppedUnnamed,
  };
}

export function repairLines(repair: CheckRepair): string[] {
  if ("refused" in repair) return [printable(repair.refused.message)];
  const { image, outcome, transaction } = repair;
  return [doneLine(image, outcome, transaction), ...leftLines(image.image, outcome)];
}

/** What `qemu-img check -r` says between its two checks, word for word; undefined when nothing was to be fixed. */
export function qemuFixed(repair: CheckRepair): string | undefined {
  if ("refused" in repair) return undefined;
  const { leaks, corruptions } = fixedCounts(repair.outcome.mended);
  if (leaks + corruptions === 0) return undefined;
  return [
    "The following inconsistencies were found and repaired:",
    "",
    `    ${leaks} leaked clusters`,
    `    ${corruptions} corruptions`,
    "",
    "Double checking the fixed image now...",
  ].join("\n");
}

function repairJson(repair: CheckRepair | undefined): object {
  if (repair === undefined) return {};
  if ("refused" in repair) return { "not-repaired": errorJson(repair.refused) };
  const { transaction, journal, outcome } = repair;
  const { leaks, corruptions } = fixedCounts(outcome.mended);
  const { mended, findings, left } = outcome;
  return {
    ...(leaks === 0 ? {} : { "leaks-fixed": leaks }),
    ...(corruptions === 0 ? {} : { "corruptions-fixed": corruptions }),
    repaired: { transaction, journal, mended, findings, left },
  };
}

/** The closing lines of `qemu-img check`, word for word. */
export function qemuSummary(report: CheckReport): string {
  const { corruptions, leaks, checkErrors, totalClusters, allocatedClusters } = report;
  const lines: string[] = [];
  if (corruptions === 0 && leaks === 0 && checkErrors === 0) {
    lines.push("No errors were found on the image.");
  }
  if (corruptions > 0) {
    lines.push(
      "",
      `${corruptions} errors were found on the image.`,
      "Data may be corrupted, or further writes to the image may corrupt it.",
    );
  }
  if (leaks > 0) {
    lines.push(
      "",
      `${leaks} leaked clusters were found on the image.`,
      "This means waste of disk space, but no harm to data.",
    );
  }
  if (checkErrors > 0) lines.push("", `${checkErrors} internal errors have occurred during the check.`);
  if (totalClusters > 0 && allocatedClusters > 0) {
    lines.push(
      `${allocatedClusters}/${totalClusters} = ${percent(allocatedClusters, totalClusters)} allocated, ` +
        `${percent(report.fragmentedClusters, allocatedClusters)} fragmented, ` +
        `${percent(report.compressedClusters, allocatedClusters)} compressed clusters`,
    );
  }
  if (report.imageEndOffset > 0) lines.push(`Image end offset: ${report.imageEndOffset}`);
  return lines.join("\n");
}

/** Two digits as C prints them: a tie goes to the even digit, where JavaScript rounds up. */
function percent(part: number, whole: number): string {
  const value = (part * 100) / whole;
  const isTie = Number.isInteger(value * 8) && !Number.isInteger(value * 4);
  const isOdd = Math.floor(value * 100) % 2 === 1;
  return `${(isTie && !isOdd ? Math.floor(value * 100) / 100 : value).toFixed(2)}%`;
}

/** Who holds the image, and what to do. */
export function interruptedLine({ image, owner }: CheckReport): string {
  const who =
    owner === undefined
      ? "an interrupted operation"
      : `interrupted transaction ${owner.transaction} of the journal ${printable(owner.journal)}`;
  return `${shownPath(image)} is held by ${who}: run 'qcowal recover' before anything that is found here is repaired.`;
}

export function leftOutLine({ findingsLeftOut }: CheckReport): string {
  return `... and ${plural(findingsLeftOut, "finding")} more.`;
}

const nameOf = ({ snapshot }: RootUsage): readonly [string, string] =>
  snapshot === undefined ? ["-", "(active layer)"] : [printable(snapshot.id), printable(snapshot.name)];

/** The lines of a table of all roots, and of what they share. */
export function* usageTable({ roots, metadataBytes, usedBytes }: Usage): Generator<string> {
  yield* tableLines(function* () {
    yield ["ID", "NAME", "EXCLUSIVE", "SHARED", "OF THAT TABLES", "DELETING FREES"];
    for (const root of roots) {
      yield [
        ...nameOf(root),
        bytes(root.exclusiveBytes),
        bytes(root.sharedBytes),
        bytes(root.tableBytes),
        root.snapshot === undefined ? "-" : bytes(root.exclusiveBytes),
      ];
    }
  });
  yield `${bytes(usedBytes)} in use, ${bytes(metadataBytes)} of them for the image itself (header, refcounts, snapshot table, bitmaps).`;
}

/** The fields of `qemu-img check --output=json`, which leaves out what is zero, and ours beside them. */
export function checkJson(image: string, report: CheckReport, repair?: CheckRepair): unknown {
  const counts = {
    "image-end-offset": report.imageEndOffset,
    "total-clusters": report.totalClusters,
    "allocated-clusters": report.allocatedClusters,
    "fragmented-clusters": report.fragmentedClusters,
    "compressed-clusters": report.compressedClusters,
    corruptions: report.corruptions,
    leaks: report.leaks,
  };
  const { owner, usage } = report;
  return {
    ...Object.fromEntries(Object.entries(counts).filter(([, count]) => count !== 0)),
    "check-errors": report.checkErrors,
    filename: image,
    format: "qcow2",
    ...repairJson(repair),
    findings: report.findings.map(({ times, ...finding }) => ({
      ...finding,
      ...(times === undefined ? {} : { times }),
    })),
    ...(report.findingsLeftOut === 0 ? {} : { "findings-left-out": report.findingsLeftOut }),
    ...(report.interrupted ? { interrupted: owner ?? {} } : {}),
    ...(usage === undefined ? {} : { usage: usageJson(usage) }),
  };
}

function* rootsJson(roots: readonly RootUsage[]): Generator<object> {
  for (const { snapshot, exclusiveBytes, sharedBytes, tableBytes } of roots) {
    const inBytes = { exclusive: exclusiveBytes, shared: sharedBytes, tables: tableBytes };
    if (snapshot === undefined) {
      yield { active: true, ...inBytes };
      continue;
    }
    // A literal that begins with a spread and goes on has V8 make a shape for each object: here those were 50 MiB.
    const { id, name } = snapshot;
    yield { id, name, ...inBytes, "delete-frees": exclusiveBytes };
  }
}

function usageJson({ roots, metadataBytes, usedBytes }: Usage): unknown {
  return {
    roots: rootsJson(roots),
    metadata: metadataBytes,
    used: usedBytes,
  };
}
