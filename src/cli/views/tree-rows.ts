/**
 * The tree laid out in rows, as `git log --graph` does it: what goes on from a
 * snapshot stays in its column, so that a year of nightly snapshots is one
 * column; what branches off comes before it, one column to the right.
 */
import type { Ancestor, SnapshotNode, SnapshotTree } from "../../index.ts";
import { isGone } from "./deleted.ts";

export type TreeItem = SnapshotNode | "beginning" | "unknown" | "disk";

export interface TreeRow {
  readonly item: TreeItem;
  readonly column: number;
  /** Index of the row of what it was taken from; undefined for what nothing leads to. */
  readonly from: number | undefined;
}

/** Without `all`, what is gone is left out: what hung below it hangs where it hung. */
export function treeRows(tree: SnapshotTree, all: boolean): TreeRow[] {
  const byKey = new Map(tree.nodes.map((node) => [node.key, node]));
  const below = new Map<Ancestor, TreeItem[]>();
  const hang = (item: TreeItem, ancestor: Ancestor): void => {
    const at = shown(byKey, ancestor, all);
    const items = below.get(at);
    if (items === undefined) below.set(at, [item]);
    else items.push(item);
  };
  for (const node of tree.nodes) if (all || !isGone(node)) hang(node, node.parent);
  if (tree.asOf !== undefined) hang("disk", tree.current);
  const layout = new Layout(below, weigh(tree.nodes, below));
  if (below.has(null)) layout.draw("beginning", null);
  if (below.has(undefined)) layout.draw("unknown", undefined);
  return layout.rows;
}

function shown(byKey: ReadonlyMap<string, SnapshotNode>, ancestor: Ancestor, all: boolean): Ancestor {
  if (all) return ancestor;
  let at = ancestor;
  for (;;) {
    const node = typeof at === "string" ? byKey.get(at) : undefined;
    if (node === undefined || !isGone(node)) return at;
    at = node.parent;
  }
}

const keyOf = (item: TreeItem): string | undefined => (typeof item === "string" ? undefined : item.key);

/** What hangs below each snapshot, itself included; the way to the disk weighs more than anything. */
function weigh(
  nodes: readonly SnapshotNode[],
  below: ReadonlyMap<Ancestor, readonly TreeItem[]>,
): ReadonlyMap<TreeItem, number> {
  const weights = new Map<TreeItem, number>([["disk", Infinity]]);
  // Nothing was taken from what came later: from the end, all that hangs below is weighed already.
  for (const node of nodes.toReversed()) {
    weights.set(
      node,
      (below.get(node.key) ?? []).reduce((sum, item) => sum + (weights.get(item) ?? 1), 1),
    );
  }
  return weights;
}

class Layout {
  readonly rows: TreeRow[] = [];
  readonly #below: ReadonlyMap<Ancestor, readonly TreeItem[]>;
  readonly #weights: ReadonlyMap<TreeItem, number>;

  constructor(below: ReadonlyMap<Ancestor, readonly TreeItem[]>, weights: ReadonlyMap<TreeItem, number>) {
    this.#below = below;
    this.#weights = weights;
  }

  /** A column from `item` on. Each branch has at most half of what there is: they nest as deep as its logarithm. */
  draw(item: TreeItem, key: Ancestor, column = 0, from?: number): void {
    let [at, above, next]: [TreeItem, number | undefined, Ancestor] = [item, from, key];
    for (;;) {
      const row = this.rows.push({ item: at, column, from: above }) - 1;
      const items = at === "disk" ? [] : (this.#below.get(next) ?? []);
      const heaviest = items.reduce<TreeItem | undefined>(
        (best, one) => (best === undefined || this.#weight(one) >= this.#weight(best) ? one : best),
        undefined,
      );
      for (const branch of items) if (branch !== heaviest) this.draw(branch, keyOf(branch), column + 1, row);
      if (heaviest === undefined) return;
      [at, above, next] = [heaviest, row, keyOf(heaviest)];
    }
  }

  #weight(item: TreeItem): number {
    return this.#weights.get(item) ?? 1;
  }
}
