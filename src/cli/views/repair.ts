import type { RepairOutcome, RepairReport } from "../../index.ts";
import { bytes, grouped, plural, shortQuoted, shownPath } from "./text.ts";

export function repairedLine({ image, interrupted, summary }: RepairReport, isDryRun: boolean): string {
  const { clustersFreed, clusterSize, refcountsLowered, refcountsRaised, copiedFlagsChanged } = summary;
  const facts = [
    plural(refcountsLowered + refcountsRaised, "refcount"),
    plural(copiedFlagsChanged, "COPIED flag"),
    ...(clustersFreed === 0
      ? []
      : [`${bytes(clustersFreed * clusterSize)} ${isDryRun ? "to free" : "freed"}`]),
    ...(interrupted === undefined ? [] : [`transaction ${interrupted.transaction}`]),
  ];
  const verdict = isDryRun
    ? "a scan would repair it and remove the fence"
    : "repaired by a scan, the fence is gone";
  return `${shownPath(image)}: ${verdict} [${facts.join(", ")}]`;
}

/** More names than these are for the JSON. */
const MAX_NAMES = 10;

function droppedText({ snapshotsDropped, snapshotsDroppedUnnamed }: RepairOutcome["mended"]): string {
  const names = snapshotsDropped.slice(0, MAX_NAMES).map(({ name }) => shortQuoted(name));
  if (names.length === 0) return "";
  const more = snapshotsDropped.length - names.length + snapshotsDroppedUnnamed;
  const others = more === 0 ? "" : ` and ${grouped(more)} more`;
  return `${names.length + more === 1 ? "snapshot" : "snapshots"} ${names.join(", ")}${others}`;
}

/** What a repair mended, or would mend, in numbers. */
export function mendedText({ mended, left }: RepairOutcome, isDryRun: boolean): string {
  const some = (count: number, one: string, many?: string): string[] =>
    count === 0 ? [] : [plural(count, one, many)];
  const parts = [
    ...some(mended.leakedClusters, "leaked cluster"),
    ...some(mended.refcountsTooHigh, "refcount that was too high", "refcounts that were too high"),
    ...some(mended.refcountsTooLow, "refcount that was too low", "refcounts that were too low"),
    ...some(mended.copiedFlags, "COPIED flag"),
    ...some(mended.snapshotFlags, "COPIED flag of a snapshot", "COPIED flags of snapshots"),
    ...some(
      mended.compressedFlags,
      "COPIED flag of compressed data in a snapshot",
      "COPIED flags of compressed data in snapshots",
    ),
    ...some(mended.zeroClusters, "unaligned zero cluster"),
    ...some(mended.refcountBlocks, "refcount block"),
    ...(mended.refcountTable ? ["the refcount table"] : []),
    ...(mended.snapshotTable ? ["the header's pointer to the snapshot table"] : []),
    ...some(mended.snapshotEntries, "incomplete snapshot entry", "incomplete snapshot entries"),
    ...(mended.dirtyBit ? ["the dirty bit"] : []),
    ...(mended.corruptBit ? ["the corrupt bit"] : []),
    ...some(mended.snapshotEntriesCut, "snapshot entry cut short", "snapshot entries cut short"),
    ...some(mended.snapshotEntriesLost, "unreadable snapshot entry", "unreadable snapshot entries"),
  ];
  const dropped = droppedText(mended);
  const lost = dropped === "" ? "" : `, ${isDryRun ? "give" : "gave"} up ${dropped}`;
  if (parts.length === 0 && lost === "") {
    const none = left.length === 0 ? "no damage was found" : "nothing can be mended";
    return isDryRun ? `repair nothing: ${none}` : none;
  }
  return `${isDryRun ? "repair" : "repaired"} ${parts.length === 0 ? "the snapshot table" : parts.join(", ")}${lost}`;
}
