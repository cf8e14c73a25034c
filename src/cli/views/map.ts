import type { Extent } from "../../index.ts";
import { printable } from "./text.ts";

const COLUMN = 16;
const HEAD = ["Offset", "Length", "Mapped to", "File"] as const;

const row = (cells: readonly string[]): string =>
  cells
    .map((cell) => cell.padEnd(COLUMN))
    .join("")
    .trimEnd();

/** The objects of `qemu-img map --output=json`, one on a line. */
export async function* mapJson(extents: AsyncIterable<Extent>): AsyncGenerator<string> {
  let before: string | undefined;
  let isFirst = true;
  for await (const extent of extents) {
    if (before !== undefined) {
      yield `${isFirst ? "[" : ""}${before},`;
      isFirst = false;
    }
    before = entry(extent);
  }
  yield `${isFirst ? "[" : ""}${before ?? ""}]`;
}

function entry({ offset, length, kind, depth, hostOffset }: Extent): string {
  const zero = kind === "zero" || kind === "hole";
  const fields = Object.entries({
    start: offset,
    length,
    depth,
    present: kind !== "hole",
    zero,
    data: !zero,
    compressed: kind === "compressed",
    ...(hostOffset === undefined ? {} : { offset: hostOffset }),
  });
  return `{ ${fields.map(([key, value]) => `"${key}": ${value}`).join(", ")}}`;
}

/** The table of `qemu-img map`: what holds data, and where. */
export async function* mapTable(
  extents: AsyncIterable<Extent>,
  files: readonly string[],
): AsyncGenerator<string> {
  yield row(HEAD);
  for await (const { offset, length, kind, depth, hostOffset } of extents) {
    if (kind !== "data" && kind !== "compressed") continue;
    const place = hostOffset === undefined ? "compressed" : hex(hostOffset);
    yield row([hex(offset), hex(length), place, printable(files[depth] ?? "")]);
  }
}

const hex = (value: number): string => (value === 0 ? "0" : `0x${value.toString(16)}`);
