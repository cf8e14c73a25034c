import type { Measured, Result } from "../measure/result.ts";
import { atLeast, ratio, seconds } from "./format.ts";

const WIDTH = 760;
const LABELS = 250;
const ROW = 18;
const TITLE = 30;
const PER_DECADE = 130;

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** How many times faster than qemu-img, on a logarithmic scale, a bar for each operation on each image. */
export function chart(results: readonly Result[]): string {
  const lines: string[] = [];
  let y = TITLE;
  let image = "";
  for (const result of results) {
    if (result.peer === undefined) continue;
    if (result.image !== image) {
      image = result.image;
      y += ROW / 2;
      lines.push(`<text x="0" y="${y + 13}" class="image">${escaped(image)}</text>`);
      y += ROW;
    }
    lines.push(...bar(result, result.peer, y));
    y += ROW;
  }
  const axis = [1, 10, 100, 1000].map((value) => {
    const x = LABELS + Math.log10(value) * PER_DECADE;
    return `<line x1="${x}" y1="${TITLE}" x2="${x}" y2="${y}" class="axis"/><text x="${x}" y="${TITLE - 4}" class="scale">${value}x</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y + 10}" viewBox="0 0 ${WIDTH} ${y + 10}" font-family="sans-serif" font-size="12">
<style>.image{font-weight:bold}.axis{stroke:#888;stroke-dasharray:2 3}.scale{text-anchor:middle}text{fill:#24292f}.bar{fill:#2da44e}.slower{fill:#cf222e}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}</style>
<text x="0" y="14">Times faster than qemu-img, whole process (logarithmic)</text>
${axis.join("\n")}
${lines.join("\n")}
</svg>
`;
}

function bar({ operation, ours }: Result, peer: Measured, y: number): string[] {
  const factor = peer.seconds / ours.seconds;
  const length = Math.log10(factor) * PER_DECADE;
  const x = LABELS + Math.min(0, length);
  const end = LABELS + Math.max(0, length) + 6;
  const times = `${atLeast(peer, seconds(peer.seconds))} / ${seconds(ours.seconds)}`;
  const words = `${atLeast(peer, ratio(factor))}  (${times})`;
  return [
    `<text x="12" y="${y + 13}">${escaped(operation)}</text>`,
    `<rect x="${x.toFixed(1)}" y="${y + 3}" width="${Math.max(1, Math.abs(length)).toFixed(1)}" height="${ROW - 6}" class="${factor < 1 ? "bar slower" : "bar"}"/>`,
    `<text x="${end.toFixed(1)}" y="${y + 13}">${words}</text>`,
  ];
}
