import { type Blame, type SnapshotEvent, type SnapshotRename, parseDeletedName } from "../../index.ts";
import { who } from "./history.ts";
import { nodeJson } from "./tree.ts";
import { keptUntil, ownName } from "./deleted.ts";
import { bytes, localTime, printable, quoted } from "./text.ts";

const eventText = ({ transaction, time, actor, reason }: SnapshotEvent): string =>
  [
    localTime(time),
    actor === undefined ? "by others" : `by ${who(actor)}`,
    ...(reason === undefined ? [] : [quoted(reason)]),
    `[transaction ${transaction}]`,
  ].join("  ");

/** A recoverable delete, and what brings back, are renames. */
function renameText({ from, to, ...event }: SnapshotRename): string {
  if (isDeletedName(to)) return `  deleted   ${eventText(event)}`;
  if (isDeletedName(from)) return `  undeleted ${eventText(event)}`;
  return `  renamed   ${eventText(event)}  ${quoted(from)} to ${quoted(to)}`;
}

const isDeletedName = (name: string): boolean => parseDeletedName(name) !== undefined;

const PARENT_UNKNOWN = "what the record does not know";

export function blameText(blames: readonly Blame[]): string {
  return blames
    .map(({ snapshot: node, parent: parentNode, isCurrent }) => {
      const { snapshot, origin, came, parent, reverts, gone } = node;
      const kept = keptUntil(node);
      return [
        `${quoted(ownName(snapshot.name))} (id ${printable(snapshot.id)})${isCurrent ? "  * the disk is here" : ""}`,
        origin === "created" ? `  created   ${eventText(came)}` : `  found     ${eventText(came)}`,
        `  from      ${parentNode === undefined ? (parent === null ? "the disk without snapshots" : PARENT_UNKNOWN) : `${quoted(ownName(parentNode.snapshot.name))} (id ${printable(parentNode.snapshot.id)})`}`,
        ...(snapshot.dateSec === undefined ? [] : [`  date      ${localTime(snapshot.dateSec * 1000)}`]),
        ...(snapshot.diskSize === undefined ? [] : [`  disk size ${bytes(snapshot.diskSize)}`]),
        ...reverts.map((event) => `  revert    ${eventText(event)}`),
        ...node.renames.map(renameText),
        ...(kept === "" ? [] : [`  state     ${kept}`]),
        ...(gone === undefined ? [] : [`  ${gone.how.padEnd(9)} ${eventText(gone)}`]),
      ].join("\n");
    })
    .join("\n");
}

export function blameJson(blames: readonly Blame[]): unknown {
  return blames.map(({ snapshot, parent, isCurrent }) => ({
    ...nodeJson(snapshot),
    ...(parent === undefined ? {} : { parentSnapshot: parent.snapshot }),
    isCurrent,
  }));
}
