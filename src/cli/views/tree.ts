import { type SnapshotNode, type SnapshotTree, parseDeletedName } from "../../index.ts";
import type { Paint } from "../colours.ts";
import { who } from "./history.ts";
import { isGone, keptUntil, ownName } from "./deleted.ts";
import { localTime, plural, printable, quoted } from "./text.ts";
import { type TreeItem, treeRows } from "./tree-rows.ts";

const GONE = {
  deleted: "deleted",
  dropped: "given up by a repair",
  vanished: "deleted by others",
  replaced: "gone with its file",
} as const;

/** A snapshot in one line. */
function nodeText(node: SnapshotNode): string {
  const { snapshot, came, origin, reverts, renames, gone } = node;
  const own = ownName(snapshot.name);
  const former = new Set(renames.map(({ from }) => ownName(from)));
  former.delete(own);
  const facts = [
    snapshot.dateSec === undefined ? "" : localTime(snapshot.dateSec * 1000),
    origin === "found" ? "taken by others" : came.actor === undefined ? "" : `by ${who(came.actor)}`,
    reverts.length === 0 ? "" : `${plural(reverts.length, "revert")} to it`,
    former.size === 0 ? "" : `was ${[...former].map(quoted).join(", ")}`,
    keptUntil(node),
    gone === undefined ? "" : `${GONE[gone.how]} ${localTime(gone.time)}`,
  ];
  const name = `${quoted(own)} (id ${printable(snapshot.id)})`;
  return [name, ...facts.filter((fact) => fact !== "")].join("  ");
}

function itemText(item: TreeItem, paint: Paint): string {
  switch (item) {
    case "beginning":
      return "○ the disk without snapshots";
    case "unknown":
      return paint("yellow", "? what the record does not know");
    case "disk":
      return paint("green", "* the disk is here");
    default:
      return !isGone(item) ? `○ ${nodeText(item)}` : paint("dim", `× ${nodeText(item)}`);
  }
}

/** The lines of the tree: what stands below something in its column was taken from it. */
export function* treeText(image: string, tree: SnapshotTree, all: boolean, paint: Paint): Generator<string> {
  yield paint("bold", image);
  const rows = treeRows(tree, all);
  for (const { item, column, from } of rows) {
    const isBranch = from !== undefined && rows[from]?.column !== column;
    const lines = column === 0 ? "" : "│ ".repeat(column - 1) + (isBranch ? "├─" : "│ ");
    yield lines + itemText(item, paint);
  }
  if (tree.unlisted > 0) yield `and ${plural(tree.unlisted, "snapshot")} that the record does not name`;
}

const iso = (milliseconds: number): string => new Date(milliseconds).toISOString();

/** As the API returns it, with times that a person and `date -d` can read; an unknown parent is left out. */
export function treeJson({ nodes, asOf, ...tree }: SnapshotTree): unknown {
  return {
    ...tree,
    ...(asOf === undefined ? {} : { asOf: { ...asOf, time: iso(asOf.time) } }),
    nodes: nodes.map(nodeJson),
  };
}

export function nodeJson(node: SnapshotNode): Record<string, unknown> {
  const { came, reverts, renames, gone, ...rest } = node;
  const event = <Event extends { readonly time: number }>(one: Event) => ({ ...one, time: iso(one.time) });
  const deleted = node.gone === undefined ? parseDeletedName(node.snapshot.name) : undefined;
  return {
    ...rest,
    ...(deleted === undefined ? {} : { deleted: { name: deleted.name, until: iso(deleted.until) } }),
    came: event(came),
    reverts: reverts.map(event),
    renames: renames.map(event),
    ...(gone === undefined ? {} : { gone: event(gone) }),
  };
}
