import type { RepairReport } from "../../index.ts";
import { bytes, plural, shownPath } from "./text.ts";

export function repairedLine({ image, interrupted, summary }: RepairReport, isDryRun: boolean): string {
  const { clustersFreed, clusterSize, refcountsLowered, copiedFlagsChanged } = summary;
  const facts = [
    plural(refcountsLowered, "refcount"),
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
