/** A second opinion on what two states of an image map differently: every 512 bytes of both, looked up and compared. */
import { type InspectReport, inspectImage, readRoot } from "../support/naive-qcow2.ts";
import { FileBytes } from "../support/naive-qcow2/file.ts";
import type { NaiveHeader } from "../support/naive-qcow2/header.ts";
import { readL1Entry, readL2Entry } from "../support/naive-qcow2/mapping.ts";

export const UNIT = 512;

export type Which = "active" | number;

/** What is asked again for each pair of states is looked up once. */
export class NaiveImage {
  readonly header: NaiveHeader;
  readonly roots: readonly Which[];
  readonly #bytes: Uint8Array;
  readonly #report: InspectReport;
  readonly #maps = new Map<Which, readonly string[]>();
  readonly #contents = new Map<Which, Uint8Array>();

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#report = inspectImage(bytes);
    this.header = this.#report.header;
    this.roots = [...this.#report.snapshots.keys(), "active"];
  }

  /** The guest's bytes; of an image that stands alone. */
  content(which: Which): Uint8Array {
    return remembered(this.#contents, which, () => readRoot(this.#bytes, which));
  }

  /** For each unit of the disk its kind, and for data and compressed ones which. */
  map(which: Which): readonly string[] {
    return remembered(this.#maps, which, () => {
      const { active, snapshots } = this.#report;
      const root = which === "active" ? active : snapshots[which];
      if (root === undefined) throw new Error(`no snapshot ${which}`);
      const file = new FileBytes(this.#bytes);
      const units: string[] = [];
      for (let at = 0; at < root.diskSize; at += UNIT) units.push(unitAt(file, this.header, root, at));
      return units;
    });
  }

  /** The differences as text, unit by unit: what the ranges of a diff have to cover, and nothing else. */
  differences(from: Which, to: Which): string[] {
    const [one, other] = [this.map(from), this.map(to)];
    const found: string[] = [];
    for (let unit = 0; unit < Math.max(one.length, other.length); unit += 1) {
      if (one[unit] !== other[unit]) found.push(`${unit * UNIT} ${other[unit] ?? "outside"}`);
    }
    return found;
  }
}

function remembered<Value>(known: Map<Which, Value>, which: Which, make: () => Value): Value {
  const value = known.get(which) ?? make();
  known.set(which, value);
  return value;
}

function unitAt(
  file: FileBytes,
  header: NaiveHeader,
  { l1Offset, l1Size }: { readonly l1Offset: number; readonly l1Size: number },
  at: number,
): string {
  const { clusterSize, l2Entries, extendedL2 } = header;
  const cluster = Math.floor(at / clusterSize);
  const slot = Math.floor(cluster / l2Entries);
  const l2Offset = slot < l1Size ? readL1Entry(file, l1Offset, slot).offset : 0;
  if (l2Offset === 0) return "unallocated";
  const { cell, bitmap } = readL2Entry(file, header, l2Offset, cluster % l2Entries);
  if (cell.kind === "compressed") return `compressed ${cell.offset}+${cell.length}`;
  const host = cell.kind === "host" ? cell.offset + (at % clusterSize) : undefined;
  if (extendedL2) {
    const part = BigInt(Math.floor((at % clusterSize) / (clusterSize / 32)));
    if (((bitmap >> (32n + part)) & 1n) === 1n) return "zero";
    return ((bitmap >> part) & 1n) === 1n ? `data ${host}` : "unallocated";
  }
  if (cell.kind === "none") return "unallocated";
  return host === undefined || (cell.kind === "host" && cell.zero) ? "zero" : `data ${host}`;
}
