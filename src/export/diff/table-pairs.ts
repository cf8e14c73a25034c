import type { Disk } from "../../disk/index.ts";
import type { Geometry } from "../../format/index.ts";
import { type L1Location, readL1Table, readTables } from "../../image/index.ts";

/** Entries of an L1 table that are held at a time. */
const PIECE = 8192;

/** The L2 tables of two states for the same part of the disk; undefined where there is none. */
export interface TablePair {
  /** Which of the L1 entries it is. */
  readonly index: number;
  /** (high, low) words, valid until the next pair is asked for. */
  readonly from: Uint32Array | undefined;
  readonly to: Uint32Array | undefined;
}

/**
 * Streams the pairs of tables of the L1 entries from `first` to before `end`. With
 * `differing` those are left out that both states share, which nobody needs to
 * read. An L1 table that is shorter maps nothing behind its end, as in QEMU.
 * @throws QcowalError IMAGE_INVALID
 */
export async function* tablePairs(
  disk: Disk,
  geometry: Geometry,
  roots: { readonly from: L1Location | undefined; readonly to: L1Location },
  range: { readonly first: number; readonly end: number; readonly differing: boolean },
): AsyncGenerator<TablePair> {
  for (let piece = range.first; piece < range.end; piece += PIECE) {
    const count = Math.min(PIECE, range.end - piece);
    const from = await targets(disk, geometry, roots.from, piece, count);
    const to = await targets(disk, geometry, roots.to, piece, count);
    const wanted: number[] = [];
    for (let index = 0; index < count; index += 1) {
      if (!range.differing || from[index] !== to[index]) wanted.push(index);
    }
    if (wanted.length > 0) yield* pairsOf(disk, geometry, wanted, { from, to, piece });
  }
}

async function* pairsOf(
  disk: Disk,
  geometry: Geometry,
  wanted: readonly number[],
  { from, to, piece }: { readonly from: Float64Array; readonly to: Float64Array; readonly piece: number },
): AsyncGenerator<TablePair> {
  // A reader for each state: the tables of one lie near each other, those of both seldom do.
  const fromTables = new Tables(disk, geometry, wanted, from);
  const toTables = new Tables(disk, geometry, wanted, to);
  try {
    for (const index of wanted) {
      yield {
        index: piece + index,
        from: await fromTables.next(index),
        to: await toTables.next(index),
      };
    }
  } finally {
    await fromTables.end();
    await toTables.end();
  }
}

/** The tables that one state has, in the order of the disk. */
class Tables {
  readonly #targets: Float64Array;
  readonly #tables: ReturnType<typeof readTables>;

  constructor(disk: Disk, geometry: Geometry, wanted: readonly number[], targets: Float64Array) {
    this.#targets = targets;
    const offsets = wanted.map((index) => targets[index] ?? 0).filter((target) => target !== 0);
    this.#tables = readTables(disk, offsets, geometry);
  }

  async next(index: number): Promise<Uint32Array | undefined> {
    if (this.#targets[index] === 0) return undefined;
    const table = await this.#tables.next();
    return table.done === true || table.value.isEmpty ? undefined : table.value.words;
  }

  async end(): Promise<void> {
    await this.#tables.return();
  }
}

async function targets(
  disk: Disk,
  geometry: Geometry,
  table: L1Location | undefined,
  first: number,
  count: number,
): Promise<Float64Array> {
  const result = new Float64Array(count);
  const entries = Math.min(count, (table?.entries ?? 0) - first);
  if (table === undefined || entries <= 0) return result;
  const read = await readL1Table(disk, geometry, { offset: table.offset + first * 8, entries });
  result.set(read.targets);
  return result;
}
