import type { ImageReceiveReport, ReceiveReport } from "../../index.ts";
import { costLines } from "./operations.ts";
import { sentState } from "./receive.ts";
import { bytes, plural, printable, quoted } from "./text.ts";

const WOULD: Readonly<Record<ReceiveReport["result"], string>> = {
  created: "would be made of the full stream of",
  applied: "would be brought",
  resumed: "was interrupted on its way, and would be brought",
  unchanged: "stands already at",
};

/** What a dry run of a receive says. */
export function receivePlanText(target: string, report: ReceiveReport | ImageReceiveReport): string {
  const { result, image, from, to, data, zero, records } = report;
  const where = `${printable(target)}:`;
  if (result === "unchanged") return `${where}\n  ${WOULD.unchanged} ${sentState(to)}`;
  const states =
    result === "created"
      ? sentState(to)
      : `${from === null ? "" : `from ${sentState(from)} `}to ${sentState(to)}`;
  const size =
    from === null || from.size === to.size
      ? `disk size ${bytes(to.size)}`
      : `disk size ${bytes(from.size)} -> ${bytes(to.size)}`;
  return [
    where,
    `  ${WOULD[result]} ${states} of ${printable(image)}, ${size}`,
    `  ${bytes(data)} of data and ${bytes(zero)} of zeros in ${plural(records, "record")}`,
    ...("kept" in report && report.kept !== null
      ? [`  would be kept as snapshot ${quoted(report.kept)}`]
      : []),
    ...("plan" in report && report.plan !== undefined ? costLines(report.plan) : []),
  ].join("\n");
}
