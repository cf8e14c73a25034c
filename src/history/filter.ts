import type { Actor } from "../engine/index.ts";
import type { ReceiveOperation } from "../plan/index.ts";
import type { HistoryEntry, HistoryStatus } from "./entry.ts";

/** Which entries are wanted: those to which every field applies. Times are milliseconds since 1970. */
export interface HistoryFilter {
  /** Begun at that time or later. */
  readonly since?: number;
  /** Begun at that time or earlier. */
  readonly until?: number;
  /** In names, ids, reasons, actors, or why something did not happen. */
  readonly grep?: RegExp;
  /** One of these kinds. A repair by a scan is a repair; `observed` is what was seen and not done. */
  readonly operations?: readonly HistoryKind[];
  /** About a snapshot of this name or id. */
  readonly snapshot?: string;
  /** The name that was given, the user, or the program. */
  readonly actor?: string;
  readonly statuses?: readonly HistoryStatus[];
}

export const HISTORY_KINDS = [
  "create",
  "revert",
  "delete",
  "rename",
  "repair",
  "receive",
  "observed",
] as const;
export type HistoryKind = (typeof HISTORY_KINDS)[number];

/** Whether an entry is wanted. */
export function isWanted(entry: HistoryEntry, filter: HistoryFilter): boolean {
  const { since = -Infinity, until = Infinity, grep, operations, snapshot, actor, statuses } = filter;
  if (entry.began < since || entry.began > until) return false;
  if (statuses !== undefined && !statuses.includes(entry.status)) return false;
  if (operations !== undefined && !kindsOf(entry).some((kind) => operations.includes(kind))) return false;
  if (snapshot !== undefined && !snapshotsOf(entry).includes(snapshot)) return false;
  if (actor !== undefined && !actorsOf(entry).some((who) => namesOf(who).includes(actor))) return false;
  return grep === undefined || textsOf(entry).some((text) => isMatch(grep, text));
}

/** A pattern with `g` or `y` would go on where it stood. */
function isMatch(pattern: RegExp, text: string): boolean {
  pattern.lastIndex = 0;
  return pattern.test(text);
}

function kindsOf({ operations, status, images }: HistoryEntry): HistoryKind[] {
  return [
    ...operations.map(({ type }) => type),
    ...(status === "repaired by a scan" ? (["repair"] as const) : []),
    ...(images.some(({ observed }) => observed !== undefined) ? (["observed"] as const) : []),
  ];
}

/** Names and ids of the snapshots that were asked for, worked on or seen. */
function snapshotsOf({ operations, images, hold }: HistoryEntry): string[] {
  const asked = operations.flatMap((operation) =>
    operation.type === "repair"
      ? []
      : operation.type === "receive"
        ? sentNames(operation)
        : [
            operation.name,
            "id" in operation ? operation.id : undefined,
            "to" in operation ? operation.to : undefined,
            "keep" in operation ? operation.keep : undefined,
          ],
  );
  const done = images.flatMap(({ outcomes, observed }) => [
    ...outcomes.flatMap((outcome) => {
      if (outcome.type === "receive") return [];
      return outcome.type === "repair" ? outcome.mended.snapshotsDropped : [outcome.snapshot];
    }),
    ...(observed?.snapshots ?? []),
  ]);
  const renamed = images.flatMap(({ outcomes }) =>
    outcomes.flatMap((outcome) =>
      outcome.type === "repair" || outcome.type === "receive" ? [] : [outcome.to],
    ),
  );
  if (hold !== undefined) done.push(hold.snapshot);
  return [...asked, ...renamed, ...done.flatMap(({ id, name }) => [id, name])].filter(
    (text) => text !== undefined,
  );
}

/** Names in the image that it was sent from: their ids mean nothing here. */
const sentNames = ({ from, to }: ReceiveOperation): (string | undefined)[] => [
  from?.snapshot?.name,
  to.snapshot?.name,
];

const actorsOf = ({ actor, recoveredBy }: HistoryEntry): Actor[] =>
  recoveredBy === undefined ? [actor] : [actor, recoveredBy];

const namesOf = ({ name, user, program }: Actor): string[] => [
  ...(name === undefined ? [] : [name]),
  user,
  program,
];

function textsOf(entry: HistoryEntry): string[] {
  const { reason, why, recoveryReason, doubt, images, status } = entry;
  return [
    ...[reason, why, recoveryReason, doubt].filter((text) => text !== undefined),
    ...snapshotsOf(entry),
    ...actorsOf(entry).flatMap(namesOf),
    ...images.map(({ image }) => image),
    ...kindsOf(entry),
    status,
  ];
}
