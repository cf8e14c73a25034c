import {
  type DryRunReport,
  type ImageReport,
  type JournaledOperation,
  type OperationOutcome,
  type RecoveredTransaction,
  type RunReport,
  parseDeletedName,
} from "../../index.ts";
import { receivedStates } from "./receive.ts";
import { mendedText } from "./repair.ts";
import { bytes, localTime, plural, printable, quoted, shownPath } from "./text.ts";

const DONE = { create: "created", revert: "reverted to", delete: "deleted", rename: "renamed" } as const;
const WOULD = { create: "create", revert: "revert to", delete: "delete", rename: "rename" } as const;

/** An operation as it was asked for: the record of one that never got far knows no more. */
export function askedFor(operation: JournaledOperation): string {
  if (operation.type === "receive") return `receive ${receivedStates(operation)}`;
  if (operation.type === "repair") return operation.what === "leaks" ? "repair of leaks" : "repair";
  const { type, name } = operation;
  const id = "id" in operation && operation.id !== undefined ? `id:${printable(operation.id)}` : "";
  const to = operation.type === "rename" ? ` to ${quoted(operation.to)}` : "";
  const kept =
    operation.type === "revert" && operation.keep !== undefined ? `, keeping ${quoted(operation.keep)}` : "";
  const recoverable =
    operation.type === "delete" && operation.recoverableFor !== undefined ? " recoverably" : "";
  return `${type} ${name === undefined ? id : quoted(name)}${to}${kept}${recoverable}`;
}

function inWords(outcome: OperationOutcome, words: typeof DONE | typeof WOULD): string {
  if (outcome.type === "repair") return mendedText(outcome, words === WOULD);
  const { resized } = outcome;
  const size = resized === undefined ? "" : `, disk size ${bytes(resized.from)} -> ${bytes(resized.to)}`;
  if (outcome.type === "receive") {
    return `${words === WOULD ? "receive" : "received"} ${receivedStates(outcome)}${size}`;
  }
  const { type, snapshot, to, droppedBitmaps = [] } = outcome;
  if (type === "rename" && to !== undefined && parseDeletedName(snapshot.name) !== undefined) {
    return `${words === WOULD ? "bring back" : "brought back"} ${quoted(to)} (id ${printable(snapshot.id)})`;
  }
  const renamed = type === "rename" && to !== undefined ? ` to ${quoted(to)}` : "";
  const kept = type === "delete" && to !== undefined ? keptText(to, words) : "";
  const drop = words === WOULD ? "drop" : "dropped";
  const dropped =
    droppedBitmaps.length === 0
      ? ""
      : `, ${drop} ${droppedBitmaps.length === 1 ? "bitmap" : "bitmaps"} ${droppedBitmaps.map(quoted).join(", ")}`;
  return `${words[type]} ${quoted(snapshot.name)}${renamed} (id ${printable(snapshot.id)})${size}${dropped}${kept}`;
}

function keptText(name: string, words: typeof DONE | typeof WOULD): string {
  const until = parseDeletedName(name)?.until;
  const keep = words === WOULD ? "keep" : "kept";
  return until === undefined ? "" : `, ${keep} until ${localTime(until)} ('qcowal undo' brings it back)`;
}

/** What a repair leaves, and why. */
export function leftLines(image: string, outcome: OperationOutcome): string[] {
  if (outcome.type !== "repair") return [];
  return outcome.left.map((what) => `${shownPath(image)}: left as it is: ${printable(what)}.`);
}

function factsOf({ summary }: ImageReport, transaction: number): string {
  const { clustersAllocated, clustersFreed, clusterSize } = summary;
  const facts = [
    ...(clustersAllocated === 0 ? [] : [`${bytes(clustersAllocated * clusterSize)} new`]),
    ...(clustersFreed === 0 ? [] : [`${bytes(clustersFreed * clusterSize)} freed`]),
    `transaction ${transaction}`,
  ];
  return ` [${facts.join(", ")}]`;
}

export const doneLine = (report: ImageReport, outcome: OperationOutcome, transaction: number): string =>
  `${shownPath(report.image)}: ${inWords(outcome, DONE)}${factsOf(report, transaction)}`;

/** What several operations of one image took and freed they took and freed together: it is said once. */
export function doneLines({ images, transaction }: RunReport): string[] {
  return images.flatMap((report) => {
    const { image, outcomes } = report;
    const [only] = outcomes;
    if (only !== undefined && outcomes.length === 1)
      return [doneLine(report, only, transaction), ...leftLines(image, only)];
    return [
      ...outcomes.map((outcome) => `${shownPath(image)}: ${inWords(outcome, DONE)}`),
      `${shownPath(image)}: ${outcomes.length} changes together${factsOf(report, transaction)}`,
    ];
  });
}

/** What carrying out a plan takes. */
export const costLines = ({
  summary,
  fileSize,
}: Pick<DryRunReport["images"][number], "summary" | "fileSize">): string[] => [
  `  ${plural(summary.refcountsChanged, "refcount")} and ${plural(summary.copiedFlagsChanged, "COPIED flag")} to change`,
  `  ${plural(summary.clustersAllocated, "cluster")} to allocate, ${plural(summary.clustersFreed, "cluster")} to free (${bytes(summary.clusterSize)} each)`,
  fileSize.to > fileSize.from
    ? `  the file grows by ${bytes(fileSize.to - fileSize.from)} to ${bytes(fileSize.to)}`
    : `  the file stays at ${bytes(fileSize.from)}`,
];

export function planText({ images }: DryRunReport): string {
  return images
    .map(({ image, outcomes, summary, fileSize }) =>
      [
        `${shownPath(image)}:`,
        ...outcomes.flatMap((outcome) => [
          `  would ${inWords(outcome, WOULD)}`,
          ...(outcome.type === "repair"
            ? [
                ...outcome.findings.map((what) => `    ${printable(what)}`),
                ...outcome.left.map((what) => `    would stay: ${printable(what)}`),
              ]
            : []),
        ]),
        ...costLines({ summary, fileSize }),
      ].join("\n"),
    )
    .join("\n");
}

/** The plan as data: long contents by their digest, as the journal logs them. */
export function planJson({ images, ...report }: DryRunReport): unknown {
  return {
    ...report,
    images: images.map(({ phases, ...image }) => ({
      ...image,
      phases: Object.fromEntries(
        Object.entries(phases).map(([phase, intents]) => [
          phase,
          Array.from(intents, (intent) =>
            intent.kind === "fill" ? { ...intent, bytes: undefined } : intent,
          ),
        ]),
      ),
    })),
  };
}

export function recoveredLine(
  { transaction, result, operations, images, doubt }: RecoveredTransaction,
  isDryRun = false,
): string {
  const what = operations.map(askedFor).join(", ");
  const mended = images.flatMap(({ outcomes = [] }) =>
    outcomes.flatMap((outcome) => (outcome.type === "repair" ? [mendedText(outcome, isDryRun)] : [])),
  );
  const where = images.map(({ image }) => shownPath(image)).join(", ");
  if (doubt !== undefined) {
    return `${where}: interrupted transaction ${transaction} (${what}) had ${result === "finished" ? "" : "not "}been decided, but ${printable(doubt)}. It is left as it is.`;
  }
  const verdict =
    result === "finished"
      ? `had been decided, ${isDryRun ? "recovery would finish it" : "it is finished now"}`
      : `had not been decided, ${isDryRun ? "recovery would undo it" : "nothing of it is left"}`;
  const facts = mended.length === 0 ? "" : ` [${mended.join("; ")}]`;
  return `${where}: interrupted transaction ${transaction} (${what}) ${verdict}${facts}.`;
}
