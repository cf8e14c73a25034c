/** The tree as a picture: for Graphviz, and as SVG that needs nothing else. */
import type { SnapshotTree } from "../../index.ts";
import { isGone, keptUntil, ownName } from "./deleted.ts";
import { localTime, printable } from "./text.ts";
import { type TreeItem, treeRows } from "./tree-rows.ts";

const dotText = (text: string): string =>
  `"${printable(text).replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

function label(item: TreeItem): string {
  switch (item) {
    case "beginning":
      return "the disk without snapshots";
    case "unknown":
      return "?";
    case "disk":
      return "the disk";
    default:
      return `${ownName(item.snapshot.name)} (id ${item.snapshot.id})`;
  }
}

function dotStyle(item: TreeItem): string {
  if (item === "disk") return ", shape=plain, fontcolor=darkgreen";
  if (typeof item === "string") return ", shape=plain";
  return !isGone(item) ? "" : ", style=dashed, fontcolor=gray50";
}

export function* treeDot(tree: SnapshotTree, all: boolean): Generator<string> {
  yield "digraph snapshots {";
  yield "  rankdir=LR;";
  yield "  node [shape=box];";
  const rows = treeRows(tree, all);
  const name = (item: TreeItem): string => (typeof item === "string" ? item : dotText(item.key));
  for (const { item } of rows) yield `  ${name(item)} [label=${dotText(label(item))}${dotStyle(item)}];`;
  for (const { item, from } of rows) {
    const above = from === undefined ? undefined : rows[from]?.item;
    if (above !== undefined) yield `  ${name(above)} -> ${name(item)};`;
  }
  yield "}";
}

const TOP = 50;
const LEFT = 20;
const ROW = 44;
const COLUMN = 28;
const BOX = { width: 260, height: 34 } as const;
const MOST_LETTERS = 34;

const xml = (text: string): string =>
  printable(text)
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");

const short = (text: string): string =>
  text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS - 1).toWellFormed()}…` : text;

function detail(item: TreeItem): string {
  if (item === "unknown") return "what the record does not know";
  if (typeof item === "string") return "";
  const { snapshot, gone } = item;
  const date = snapshot.dateSec === undefined ? "" : localTime(snapshot.dateSec * 1000);
  return [date, gone?.how ?? keptUntil(item)].filter((fact) => fact !== "").join("  ");
}

const kindOf = (item: TreeItem): string =>
  typeof item === "string" ? item : isGone(item) ? "gone" : "snapshot";

/** A row for each, with a line from what it was taken from. */
export function* treeSvg(image: string, tree: SnapshotTree, all: boolean): Generator<string> {
  const rows = treeRows(tree, all);
  const columns = rows.reduce((most, { column }) => Math.max(most, column), 0);
  const [width, height] = [BOX.width + 2 * LEFT + columns * COLUMN, TOP + 10 + rows.length * ROW];
  yield `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`;
  yield `<title>${xml(`Snapshots of ${image}`)}</title>`;
  yield STYLE;
  yield `<rect width="${width}" height="${height}" style="fill:#fff;stroke:none"/>`;
  yield `<text x="${LEFT}" y="30" style="font-weight:bold">${xml(image)}</text>`;
  const place = (row: number): { x: number; y: number } => ({
    x: LEFT + (rows[row]?.column ?? 0) * COLUMN,
    y: TOP + row * ROW,
  });
  for (const [row, { from }] of rows.entries()) {
    if (from === undefined) continue;
    const [above, here] = [place(from), place(row)];
    const way = above.x === here.x ? `V ${here.y}` : `V ${here.y + BOX.height / 2} H ${here.x}`;
    yield `<path class="line" d="M ${above.x + 12} ${above.y + BOX.height} ${way}"/>`;
  }
  for (const [row, { item }] of rows.entries()) {
    const { x, y } = place(row);
    yield (
      `<g class="${kindOf(item)}"><rect x="${x}" y="${y}" width="${BOX.width}" height="${BOX.height}" rx="5"/>` +
      `<text x="${x + 10}" y="${y + 15}">${xml(short(label(item)))}<title>${xml(label(item))}</title></text>` +
      `<text class="detail" x="${x + 10}" y="${y + 28}">${xml(detail(item))}</text></g>`
    );
  }
  yield "</svg>";
}

const STYLE = `<style>
text { font: 13px system-ui, sans-serif; fill: #1a1a1a }
.detail { font-size: 10px; fill: #666 }
rect { fill: #fff; stroke: #aaa }
.snapshot rect { fill: #eef4fb; stroke: #4a7ab5 }
.gone rect { fill: #f6f6f6; stroke-dasharray: 4 3 }
.gone text { fill: #888 }
.disk rect { fill: #e5f5e5; stroke: #3a8a3a }
.line { fill: none; stroke: #999 }
</style>`;
