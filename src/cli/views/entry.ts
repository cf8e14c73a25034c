import { dirname } from "node:path";
import type { HistoryEntry } from "../../index.ts";
import { remarksOf, took, who } from "./history.ts";
import { askedFor } from "./operations.ts";
import { bytes, localTime, plural, printable, quoted, shownPath } from "./text.ts";

/** One entry of the history in full, a fact a line. */
export function entryText(entry: HistoryEntry, journal: string): string {
  const { transaction, status, began, operations, images, actor, reason } = entry;
  const base = dirname(journal);
  const facts: (readonly [string, string])[] = [
    ["transaction", `${transaction} of ${shownPath(journal)}`],
    ["status", status],
    ["began", `${localTime(began)}${entry.ended === undefined ? "" : `, took ${took(entry)}`}`],
    ["who", who(actor)],
    ...(reason === undefined ? [] : [["reason", quoted(reason)] as const]),
    ...operations.map(
      (operation) => ["asked", `${askedFor(operation)} on ${shownPath(operation.image)}`] as const,
    ),
    ...(entry.hold === undefined
      ? []
      : [["snapshot", `${quoted(entry.hold.snapshot.name)} as ${printable(entry.hold.tag)}`] as const]),
    ...images.flatMap(
      ({
        image,
        outcomes,
        clustersAllocated,
        clustersFreed,
        bytesFreed,
        refcountsChanged,
        copiedFlagsChanged,
      }) =>
        outcomes.length === 0
          ? []
          : [
              [
                "image",
                `${shownPath(image)}: ${plural(refcountsChanged, "refcount")} and ${plural(copiedFlagsChanged, "COPIED flag")} changed, ${plural(clustersAllocated, "cluster")} allocated, ${plural(clustersFreed, "cluster")} freed (${bytes(bytesFreed)})`,
              ] as const,
            ],
    ),
    ...remarksOf(entry, base).map((remark) => ["note", remark] as const),
  ];
  return facts.map(([name, text]) => `${name.padEnd(12)} ${text}`).join("\n");
}
