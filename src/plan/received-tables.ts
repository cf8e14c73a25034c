import { type Image, type L1Location, type L1Table, readTables } from "../image/index.ts";
import { type FillIntent, fillFrom } from "../intent/index.ts";
import { type TableEntries, tableWords } from "../format/index.ts";
import type { CollectedTables } from "./collect-received.ts";
import type { RefcountChanges } from "./refcount-changes.ts";
import { NOTHING, type ReceivedTable, keepOnly, renew } from "./received-table.ts";

/**
 * The active layer as a stream leaves it: L2 tables that are written anew, beside
 * those that stay. Nothing that is stored is written over: until the header
 * switches to the new L1 table the old layer is whole.
 */
export class ReceivedTables {
  /** The new L1 table without the tables that are written anew: what it shares with the old one is not counted. */
  readonly rest: L1Table;
  /** The whole of it. */
  readonly whole: L1Table;
  readonly #image: Image;
  readonly #tables: readonly ReceivedTable[];
  readonly #data: readonly FillIntent[];
  /** Roots that use it: the active layer, and snapshots that are taken of it. */
  readonly #uses: number;

  constructor(
    image: Image,
    l1: L1Table,
    { offset, entries }: L1Location,
    { tables, data }: CollectedTables,
    uses: number,
  ) {
    this.#image = image;
    this.#tables = tables;
    this.#data = data;
    this.#uses = uses;
    const targets = new Float64Array(entries);
    targets.set(l1.targets);
    for (const { place } of tables) targets[place] = 0;
    const copied = new Uint8Array(entries);
    this.rest = { offset, entries, targets, copied };
    const all = targets.slice();
    for (const { place, offset: table } of tables) all[place] = table;
    this.whole = { offset, entries, targets: all, copied };
  }

  /** L2 tables that are written anew. */
  get count(): number {
    return this.#tables.length;
  }

  /** Counts what lies in the window, beyond the one reference of what is handed out. */
  async countInto(changes: RefcountChanges): Promise<void> {
    const { geometry } = this.#image.header;
    const { clusterSize } = geometry;
    const add = (offset: number): void => {
      if (changes.covers(offset / clusterSize)) changes.add(offset / clusterSize, this.#uses - 1);
    };
    if (this.#uses > 1) {
      for (const { offset, runs } of this.#tables) {
        if (offset !== 0) add(offset);
        for (const [, count, target] of runs) {
          if (target <= NOTHING) continue;
          for (let index = 0; index < count; index += 1) add(target + index * clusterSize);
        }
      }
    }
    for await (const [table, words] of this.#stored()) {
      changes.addL2Table(table.old, entriesOf(keepOnly(geometry, table, words)), this.#uses);
    }
  }

  /** Decides the flags of entries that lead into the window, when everything in it is counted. */
  async decideFlags(changes: RefcountChanges): Promise<void> {
    const { geometry } = this.#image.header;
    for await (const [table, words] of this.#stored()) {
      changes.compareFlags(
        table.old,
        entriesOf(keepOnly(geometry, table, words)),
        0,
        geometry.l2Entries,
        (first, count) => {
          table.flips.push([first, count]);
        },
      );
    }
  }

  /** Contents of all that is new, when all flags are decided. */
  async fills(): Promise<FillIntent[]> {
    const { disk, header } = this.#image;
    const { geometry } = header;
    const scratch = new Uint8Array(geometry.clusterSize);
    const fills = [...this.#data];
    for (const table of this.#tables) {
      if (table.offset === 0) continue;
      const read = async (target: Uint8Array): Promise<void> => {
        const bytes = Buffer.from(target.buffer, target.byteOffset, target.length);
        bytes.fill(0);
        if (table.old !== 0) await disk.read(table.old, bytes);
        renew(geometry, table, tableWords(bytes), this.#uses === 1);
        bytes.swap32();
      };
      fills.push(await fillFrom(table.offset, scratch, read));
    }
    return fills;
  }

  /** The old tables, in file order. Their words may be changed. */
  async *#stored(): AsyncGenerator<readonly [ReceivedTable, Uint32Array]> {
    const { disk, header } = this.#image;
    const tables = this.#tables.filter(({ old }) => old !== 0).toSorted((a, b) => a.old - b.old);
    const offsets = tables.map(({ old }) => old);
    let index = 0;
    for await (const { words } of readTables(disk, offsets, header.geometry)) {
      const table = tables[index];
      index += 1;
      if (table !== undefined) yield [table, words];
    }
  }
}

const entriesOf = (words: Uint32Array): TableEntries => ({ runs: undefined, words });
