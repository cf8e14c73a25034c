import { type Image, type RefcountTable, SortedOffsets, readRefcountTable } from "../image/index.ts";
import { MAX_FINDINGS } from "./repair-findings.ts";

/** Slots of the refcount table that cannot be believed. */
export class DamagedSlots {
  /** The first of what is wrong with them, in words. */
  readonly findings: string[] = [];
  #slots = new Uint8Array(0);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  has(slot: number): boolean {
    return this.#slots[slot] === 1;
  }

  add(slot: number, what: string, slots: number): void {
    if (this.#slots.length === 0) this.#slots = new Uint8Array(slots);
    this.#slots[slot] = 1;
    this.#count += 1;
    if (this.findings.length < MAX_FINDINGS) this.findings.push(what);
  }
}

/** The refcount table as it is stored, before anybody knows what else lies there. */
export interface StoredTable {
  readonly stored: RefcountTable;
  /** False for a table that ends behind the end of the file: nothing of it was read. */
  readonly isInFile: boolean;
  /** What is wrong with slots by themselves. */
  readonly damaged: DamagedSlots;
  /** Host offsets of the clusters of the table. */
  readonly clusters: Float64Array;
  /** Host offsets of the clusters of the table, and of the blocks that it names. */
  readonly places: SortedOffsets;
}

export async function readStoredTable({ disk, header, fileSize }: Image): Promise<StoredTable> {
  const { geometry, refcountTableOffset, refcountTableClusters } = header;
  const { clusterSize } = geometry;
  const clusters = Float64Array.from(
    { length: refcountTableClusters },
    (_, index) => refcountTableOffset + index * clusterSize,
  );
  const damaged = new DamagedSlots();
  const slots = (refcountTableClusters * clusterSize) / 8;
  const isInFile = refcountTableOffset + (refcountTableClusters - 1) * clusterSize < fileSize;
  const stored = isInFile
    ? await readRefcountTable(disk, header, fileSize, (slot, what) => damaged.add(slot, what, slots))
    : { geometry, tableOffset: refcountTableOffset, table: new Float64Array(slots) };
  const places = SortedOffsets.of(clusters).with(SortedOffsets.of(stored.table));
  return { stored, isInFile, damaged, clusters, places };
}
