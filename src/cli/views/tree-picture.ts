/** The tree as a picture: for Graphviz, and as SVG that needs nothing else. */
import type { SnapshotNode, SnapshotTree } from "../../index.ts";
import { type Branch, forestOf } from "./tree.ts";
import { localTime, printable } from "./text.ts";

const dotText = (text: string): string =>
  `"${printable(text).replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

const label = ({ snapshot }: SnapshotNode): string => `${snapshot.name} (id ${snapshot.id})`;

export function treeDot(tree: SnapshotTree, all: boolean): string {
  const { fromBeginning, ofUnknownOrigin } = forestOf(tree, all);
  const lines: string[] = [];
  const add = (from: string, { node, children }: Branch): void => {
    const style = node.gone === undefined ? "" : ", style=dashed, fontcolor=gray50";
    lines.push(`  ${dotText(node.key)} [label=${dotText(label(node))}${style}];`);
    lines.push(`  ${from} -> ${dotText(node.key)};`);
    for (const child of children) add(dotText(node.key), child);
  };
  for (const branch of fromBeginning) add("beginning", branch);
  for (const branch of ofUnknownOrigin) add("unknown", branch);
  const isShown = (key: string): boolean => lines.some((line) => line.startsWith(`  ${dotText(key)} [`));
  const { current } = tree;
  const above =
    current === undefined || (current !== null && !isShown(current))
      ? "unknown"
      : current === null
        ? "beginning"
        : dotText(current);
  lines.push(`  disk [label="the disk", shape=plain, fontcolor=darkgreen];`, `  ${above} -> disk;`);
  return [
    "digraph snapshots {",
    "  rankdir=LR;",
    "  node [shape=box];",
    `  beginning [label="the beginning", shape=plain];`,
    ...(lines.some((line) => line.startsWith("  unknown -> "))
      ? [`  unknown [label="?", shape=plain];`]
      : []),
    ...lines,
    "}",
  ].join("\n");
}

const ROW = 44;
const COLUMN = 28;
const BOX = 260;
const MOST_LETTERS = 34;

const xml = (text: string): string =>
  printable(text)
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");

const short = (text: string): string =>
  text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS - 1).toWellFormed()}…` : text;

/** A row for each snapshot, below what it was taken from and to the right of it. */
export function treeSvg(image: string, tree: SnapshotTree, all: boolean): string {
  const { fromBeginning, ofUnknownOrigin } = forestOf(tree, all);
  const parts: string[] = [];
  let row = 0;
  let deepest = 0;
  const box = (
    depth: number,
    from: number | undefined,
    title: string,
    detail: string,
    kind: string,
  ): number => {
    const [x, y] = [20 + depth * COLUMN, 50 + row * ROW];
    deepest = Math.max(deepest, depth);
    row += 1;
    if (from !== undefined) {
      parts.push(`<path class="line" d="M ${x - COLUMN + 12} ${from} V ${y + 16} H ${x}"/>`);
    }
    parts.push(
      `<g class="${kind}"><rect x="${x}" y="${y}" width="${BOX}" height="34" rx="5"/>` +
        `<text x="${x + 10}" y="${y + 15}">${xml(short(title))}<title>${xml(title)}</title></text>` +
        `<text class="detail" x="${x + 10}" y="${y + 28}">${xml(detail)}</text></g>`,
    );
    return y + 34;
  };
  const isShown = new Set<string>();
  const draw = (depth: number, from: number, { node, children }: Branch): void => {
    isShown.add(node.key);
    const date = node.snapshot.dateSec === undefined ? "" : localTime(node.snapshot.dateSec * 1000);
    const end = box(
      depth,
      from,
      label(node),
      `${date}${node.gone === undefined ? "" : `  ${node.gone.how}`}`,
      node.gone === undefined ? "snapshot" : "gone",
    );
    for (const child of children) draw(depth + 1, end, child);
    if (tree.current === node.key) box(depth + 1, end, "the disk is here", "", "disk");
  };
  const top = box(0, undefined, "the beginning", "the disk without snapshots", "root");
  for (const branch of fromBeginning) draw(1, top, branch);
  if (tree.current === null) box(1, top, "the disk is here", "", "disk");
  const isLost = tree.current !== null && (tree.current === undefined || !isShown.has(tree.current));
  if (ofUnknownOrigin.length > 0 || isLost) {
    const unknown = box(0, undefined, "?", "what the record does not know", "root");
    for (const branch of ofUnknownOrigin) draw(1, unknown, branch);
    if (tree.current !== null && (tree.current === undefined || !isShown.has(tree.current)))
      box(1, unknown, "the disk is here", "", "disk");
  }
  const [width, height] = [BOX + 40 + deepest * COLUMN, 60 + row * ROW];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<title>${xml(`Snapshots of ${image}`)}</title>
<style>
text { font: 13px system-ui, sans-serif; fill: #1a1a1a }
.detail { font-size: 10px; fill: #666 }
rect { fill: #eef4fb; stroke: #4a7ab5 }
.gone rect { fill: #f6f6f6; stroke: #aaa; stroke-dasharray: 4 3 }
.gone text { fill: #888 }
.disk rect { fill: #e5f5e5; stroke: #3a8a3a }
.root rect { fill: #fff; stroke: #aaa }
.line { fill: none; stroke: #999 }
</style>
<rect x="0" y="0" width="${width}" height="${height}" style="fill:#fff;stroke:none"/>
<text x="20" y="30" style="font-weight:bold">${xml(image)}</text>
${parts.join("\n")}
</svg>`;
}
