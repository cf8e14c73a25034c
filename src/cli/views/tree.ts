import type { Ancestor, SnapshotNode, SnapshotTree } from "../../index.ts";
import type { Paint } from "../colours.ts";
import { who } from "./history.ts";
import { localTime, plural, printable, quoted } from "./text.ts";

export interface Branch {
  readonly node: SnapshotNode;
  readonly children: readonly Branch[];
}

/** What the disk was before there were snapshots, and what the record cannot place. */
export interface Forest {
  readonly fromBeginning: readonly Branch[];
  readonly ofUnknownOrigin: readonly Branch[];
}

/**
 * With `all`, also what is gone. Without it, what was taken from something gone
 * hangs where that hung.
 */
export function forestOf({ nodes }: SnapshotTree, all: boolean): Forest {
  const byKey = new Map(nodes.map((node) => [node.key, node]));
  const children = new Map<string | null | undefined, SnapshotNode[]>();
  for (const node of nodes) {
    if (!all && node.gone !== undefined) continue;
    const parent = shownAncestor(byKey, node.parent, all);
    children.set(parent, [...(children.get(parent) ?? []), node]);
  }
  const branches = (parent: string | null | undefined): Branch[] =>
    (children.get(parent) ?? []).map((node) => ({ node, children: branches(node.key) }));
  return { fromBeginning: branches(null), ofUnknownOrigin: branches(undefined) };
}

const GONE = {
  deleted: "deleted",
  dropped: "given up by a repair",
  vanished: "deleted by others",
  replaced: "gone with its file",
} as const;

/** A snapshot in one line. */
export function nodeText({ snapshot, came, origin, reverts, gone }: SnapshotNode): string {
  const facts = [
    snapshot.dateSec === undefined ? "" : localTime(snapshot.dateSec * 1000),
    origin === "found" ? "taken by others" : came.actor === undefined ? "" : `by ${who(came.actor)}`,
    reverts.length === 0 ? "" : `${plural(reverts.length, "revert")} to it`,
    gone === undefined ? "" : `${GONE[gone.how]} ${localTime(gone.time)}`,
  ];
  return [
    `${quoted(snapshot.name)} (id ${printable(snapshot.id)})`,
    ...facts.filter((fact) => fact !== ""),
  ].join("  ");
}

/** As `tree` draws folders; the active layer hangs below what it was made from. */
export function treeText(image: string, tree: SnapshotTree, all: boolean, paint: Paint): string {
  const { fromBeginning, ofUnknownOrigin } = forestOf(tree, all);
  const here = paint("green", "* the disk is here");
  const lines: string[] = [paint("bold", image)];
  const byKey = new Map(tree.nodes.map((node) => [node.key, node]));
  const shownCurrent = shownAncestor(byKey, tree.current, all);
  type Item = { readonly text: string; readonly below: readonly Item[] };
  const item = ({ node, children }: Branch): Item => ({
    text: node.gone === undefined ? nodeText(node) : paint("dim", nodeText(node)),
    below: [...children.map(item), ...(shownCurrent === node.key ? [{ text: here, below: [] }] : [])],
  });
  const draw = (items: readonly Item[], indent: string): void => {
    for (const [index, { text, below }] of items.entries()) {
      const isLast = index === items.length - 1;
      lines.push(`${indent}${isLast ? "└── " : "├── "}${text}`);
      draw(below, `${indent}${isLast ? "    " : "│   "}`);
    }
  };
  draw([...fromBeginning.map(item), ...(shownCurrent === null ? [{ text: here, below: [] }] : [])], "");
  if (ofUnknownOrigin.length > 0 || shownCurrent === undefined) {
    lines.push(paint("yellow", "taken from what the record does not know:"));
    const unknown = shownCurrent === undefined ? [{ text: here, below: [] }] : [];
    draw([...ofUnknownOrigin.map(item), ...unknown], "");
  }
  if (tree.unlisted > 0) lines.push(`and ${plural(tree.unlisted, "snapshot")} that the record does not name`);
  return lines.join("\n");
}

/** Without `all`, what hangs below something gone hangs where that hung. */
function shownAncestor(byKey: ReadonlyMap<string, SnapshotNode>, ancestor: Ancestor, all: boolean): Ancestor {
  if (all) return ancestor;
  let at = ancestor;
  for (;;) {
    const node = typeof at === "string" ? byKey.get(at) : undefined;
    if (node?.gone === undefined) return at;
    at = node.parent;
  }
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

export function nodeJson({ came, reverts, gone, ...node }: SnapshotNode): Record<string, unknown> {
  const event = <Event extends { readonly time: number }>(one: Event) => ({ ...one, time: iso(one.time) });
  return {
    ...node,
    came: event(came),
    reverts: reverts.map(event),
    ...(gone === undefined ? {} : { gone: event(gone) }),
  };
}
