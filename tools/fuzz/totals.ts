import { type Counts, NO_COUNTS } from "./run-case.ts";

export interface Totals extends Counts {
  readonly cases: number;
  /** Repaired images that were shown to qemu-img. */
  readonly qemu: number;
}

export const NONE: Totals = { ...NO_COUNTS, cases: 0, qemu: 0 };

export function adding(totals: Totals, counts: Counts, qemu: number): Totals {
  return {
    cases: totals.cases + 1,
    images: totals.images + counts.images,
    repaired: totals.repaired + counts.repaired,
    rescued: totals.rescued + counts.rescued,
    inPart: totals.inPart + counts.inPart,
    left: totals.left + counts.left,
    refused: totals.refused + counts.refused,
    fenced: totals.fenced + counts.fenced,
    recovered: totals.recovered + counts.recovered,
    qemu: totals.qemu + qemu,
  };
}

export function inWords(totals: Totals): string {
  const number = (value: number): string => value.toLocaleString("en-US");
  return [
    `${number(totals.images)} hostile images of ${number(totals.cases)} cases:`,
    `${number(totals.repaired)} repaired, ${number(totals.rescued)} with snapshots given up,`,
    `${number(totals.inPart)} in part without that, ${number(totals.left)} only so;`,
    `${number(totals.recovered)} recovered, ${number(totals.refused + totals.fenced)} refused;`,
    `${number(totals.qemu)} repaired ones shown to qemu-img`,
  ].join(" ");
}
