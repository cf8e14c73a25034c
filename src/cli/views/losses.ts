import type { DryRunReport, PruneReport } from "../../index.ts";
import { bytes, localTime, plural, printable, quoted, shownPath } from "./text.ts";

interface Named {
  readonly id: string;
  readonly name: string;
}

const line = (what: string, { id, name }: Named, date: string): string =>
  `  ${what} ${quoted(name)} (id ${printable(id)})${date}`;

const of = (time: number): string => ` of ${localTime(time)}`;

const freed = (count: number): string => `  ${bytes(count)} freed`;

/** What a plan does to each image, for whoever is asked whether it shall. */
export const planLines = ({ images }: DryRunReport): string[] =>
  images.flatMap(({ image, outcomes, summary }) => [
    `${shownPath(image)}:`,
    ...outcomes.flatMap((outcome) => {
      if (outcome.type === "repair" || outcome.type === "receive") return [];
      const { dateSec } = outcome.snapshot;
      const isKnown = dateSec !== undefined && outcome.type !== "create";
      return [line(outcome.type, outcome.snapshot, isKnown ? of(dateSec * 1000) : "")];
    }),
    freed(summary.clustersFreed * summary.clusterSize),
  ]);

/** The same of what keeping rules remove; images of which nothing goes are left out. */
export const pruneLossLines = ({ images, failed }: PruneReport): string[] => [
  ...images.flatMap(({ image, verdicts, bytesFreed }) => {
    const gone = verdicts.filter(({ keep }) => !keep);
    if (gone.length === 0) return [];
    return [
      `${shownPath(image)}: ${plural(gone.length, "snapshot")} of ${verdicts.length}`,
      ...gone.map(({ snapshot }) => line("delete", snapshot, of(snapshot.time))),
      freed(bytesFreed),
    ];
  }),
  ...failed.map(({ image, error }) => `${shownPath(image)}: not pruned: ${printable(error.message)}`),
];
