import type { PruneReport, PrunedImage } from "../../index.ts";
import { errorJson } from "../error-json.ts";
import { bytes, localTime, plural, printable, quoted, shownPath, tableLines } from "./text.ts";

/** What becomes of each snapshot of an image, and why. */
export function* verdictTable({ image, verdicts }: PrunedImage): Generator<string> {
  yield `${shownPath(image)}:`;
  yield* tableLines(function* () {
    yield ["", "ID", "NAME", "DATE", "WHY"];
    for (const { snapshot, keep, reasons } of verdicts) {
      const { id, name, time } = snapshot;
      yield [
        keep ? "keep" : "remove",
        printable(id),
        printable(name),
        localTime(time),
        printable(reasons.join(", ")),
      ];
    }
  });
}

export function pruneLines({ dryRun, images, failed }: PruneReport): string[] {
  return [
    ...images.map(({ image, verdicts, bytesFreed, transaction }) => {
      const gone = verdicts.filter(({ keep }) => !keep);
      if (gone.length === 0)
        return `${shownPath(image)}: nothing to remove, ${plural(verdicts.length, "snapshot")} kept`;
      const names = gone.map(({ snapshot }) => quoted(snapshot.name)).join(", ");
      const facts = [
        `${bytes(bytesFreed)} freed`,
        ...(transaction === undefined ? [] : [`transaction ${transaction}`]),
      ];
      return `${shownPath(image)}: ${dryRun ? "would remove" : "removed"} ${plural(gone.length, "snapshot")} of ${verdicts.length}: ${names} [${facts.join(", ")}]`;
    }),
    ...failed.map(({ image, error }) => `${shownPath(image)}: not pruned: ${printable(error.message)}`),
  ];
}

export const pruneJson = ({ failed, ...report }: PruneReport): unknown => ({
  ...report,
  failed: failed.map(({ image, error }) => ({ image, error: errorJson(error) })),
});
