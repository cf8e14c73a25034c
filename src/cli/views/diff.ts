import type { ChangedRange, DiffSide, DiffSides, DiffStep, DiffTotals } from "../../index.ts";
import { bytes, grouped, plural, printable, quoted, tableLines } from "./text.ts";

const hex = (value: number): string => `0x${value.toString(16)}`;

/** Wide enough for a disk of 4 PiB, so that a range can be printed before the next one is known. */
const OFFSET_WIDTH = 15;
const LENGTH_WIDTH = 14;

export function rangeLine({ offset, length, kind, hostOffset }: ChangedRange): string {
  const where = hostOffset === undefined ? "" : ` at ${hex(hostOffset)}`;
  return `${hex(offset).padStart(OFFSET_WIDTH)} ${hex(length).padStart(LENGTH_WIDTH)}  ${kind}${where}`;
}

export const contentLine = ({ offset, length }: Pick<ChangedRange, "offset" | "length">): string =>
  `${hex(offset).padStart(OFFSET_WIDTH)} ${hex(length).padStart(LENGTH_WIDTH)}`;

/**
 * An element of `qemu-img map --output=json`, and the kind. What only a backing
 * file knows is left out.
 */
export function rangeJson({ offset, length, kind, hostOffset }: ChangedRange, hasBacking: boolean): object {
  const isBehind = kind === "unallocated" && hasBacking;
  return {
    start: offset,
    length,
    depth: isBehind ? 1 : 0,
    ...(isBehind
      ? {}
      : {
          present: kind !== "unallocated" && kind !== "outside",
          zero: kind === "zero" || kind === "unallocated",
          data: kind === "data" || kind === "compressed",
          compressed: kind === "compressed",
        }),
    ...(hostOffset === undefined ? {} : { offset: hostOffset }),
    kind,
  };
}

export const sideJson = ({ snapshot, size }: DiffSide): object => ({ snapshot, size });

export const stepJson = ({ from, to, totals }: DiffStep): object => ({
  from: sideJson(from),
  to: sideJson(to),
  totals,
});

const nameOf = ({ snapshot }: DiffSide): string =>
  snapshot === null ? "the disk" : `${quoted(snapshot.name)} (id ${printable(snapshot.id)})`;

export function sidesLine({ from, to }: DiffSides, totals: Pick<DiffTotals, "ranges" | "bytes">): string {
  const sizes =
    from.size === to.size ? "" : ` The disk was ${bytes(from.size)} and is ${bytes(to.size)} large.`;
  const what =
    totals.ranges === 0
      ? "do not differ"
      : `differ in ${bytes(totals.bytes)} of ${bytes(Math.max(from.size, to.size))}, ${plural(totals.ranges, "range")}`;
  return `${nameOf(from)} and ${nameOf(to)} ${what}.${sizes}`;
}

export function stepTable(steps: readonly DiffStep[]): Iterable<string> {
  return tableLines(function* () {
    yield ["FROM", "TO", "DIFFERS", "RANGES", "DATA", "COMPRESSED", "ZERO", "UNALLOCATED", "DISK SIZE"];
    for (const { from, to, totals } of steps) {
      yield [
        nameOf(from),
        nameOf(to),
        bytes(totals.bytes),
        grouped(totals.ranges),
        ...[totals.data, totals.compressed, totals.zero, totals.unallocated].map((count) =>
          count === 0 ? "-" : bytes(count),
        ),
        from.size === to.size ? bytes(to.size) : `${bytes(from.size)} -> ${bytes(to.size)}`,
      ];
    }
  });
}
