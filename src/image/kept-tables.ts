import type { Geometry } from "../format/index.ts";
import { L2Table } from "./l2-table.ts";
import type { SortedOffsets } from "./sorted-offsets.ts";

/**
 * Of tables of 64 KiB that are those of a disk of 128 GiB, and of any that was
 * written in order; with what else a plan holds it stays below its limit.
 */
const MOST_BYTES = 16 * 1024 * 1024;

/** Its runs, or else the table as it is stored. */
interface Kept {
  readonly runs: Uint32Array | undefined;
  readonly stored: Buffer;
  readonly isEmpty: boolean;
}

const NOTHING = Buffer.alloc(0);

/** Tables that one pass reads and another needs again, as many as fit: the others are read twice. */
export class KeptTables {
  readonly #geometry: Geometry;
  readonly #tables = new Map<number, Kept>();
  #wanted: SortedOffsets | undefined;
  #left: number;
  /** Where tables are unpacked: each is valid until the next one is asked for. */
  #scratch = NOTHING;

  constructor(geometry: Geometry, bytes = MOST_BYTES) {
    this.#geometry = geometry;
    this.#left = bytes;
  }

  /** Which will be needed again. */
  want(offsets: SortedOffsets): void {
    this.#wanted = offsets;
  }

  offer(table: L2Table): void {
    const { offset, isEmpty } = table;
    if (this.#wanted?.has(offset) !== true) return;
    const { runs } = table;
    const bytes = runs?.byteLength ?? this.#geometry.clusterSize;
    if (bytes > this.#left) return;
    this.#left -= bytes;
    this.#tables.set(offset, { runs, stored: runs === undefined ? copyOf(table.stored) : NOTHING, isEmpty });
  }

  get isEmpty(): boolean {
    return this.#tables.size === 0;
  }

  has(offset: number): boolean {
    return this.#tables.has(offset);
  }

  /** Those among `offsets` from `from` to before `end`, which are given up. */
  *take(offsets: Float64Array, from: number, end: number): Generator<L2Table> {
    for (let index = from; index < end; index += 1) {
      const offset = offsets[index] ?? 0;
      const kept = this.#tables.get(offset);
      if (kept === undefined) continue;
      this.#tables.delete(offset);
      const { runs, stored, isEmpty } = kept;
      this.#left += runs?.byteLength ?? stored.length;
      if (runs === undefined) {
        yield L2Table.read(offset, this.#geometry, stored);
        continue;
      }
      if (this.#scratch === NOTHING) this.#scratch = Buffer.allocUnsafeSlow(this.#geometry.clusterSize);
      yield L2Table.kept(offset, this.#geometry, isEmpty, runs, this.#scratch);
    }
  }
}

/** Aligned, unlike what the pool of small buffers gives. */
function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}
