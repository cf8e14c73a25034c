import type { Disk } from "../disk/index.ts";
import { QcowalError } from "../errors/index.ts";
import {
  type Geometry,
  type Header,
  type RefcountArray,
  decodeRefcountBlock,
  hostOffset,
} from "../format/index.ts";
import { readClusters } from "./read-table.ts";

/** Refcount blocks are held in memory while an operation is planned; more than this is refused rather than swapped. */
const MAX_BLOCK_BYTES = 2 ** 31;

/** The stored refcounts of an image. */
export class Refcounts {
  readonly geometry: Geometry;
  /** Where the refcount table is stored. */
  readonly tableOffset: number;
  /** Host offset of each refcount block by table slot, 0 where there is none. */
  readonly table: Float64Array;
  /** By table slot; a slot that has no block has no element. */
  readonly #blocks: readonly (RefcountArray | undefined)[];
  /** All blocks of zeros are this one: a sparse file may have a million of them. */
  readonly #blank: RefcountArray | undefined;

  constructor(
    geometry: Geometry,
    tableOffset: number,
    table: Float64Array,
    blocks: readonly (RefcountArray | undefined)[],
    blank?: RefcountArray,
  ) {
    this.#blank = blank;
    this.tableOffset = tableOffset;
    this.geometry = geometry;
    this.table = table;
    this.#blocks = blocks;
  }

  /** Refcount of a host cluster; 0 where no block covers it. */
  get(cluster: number): number {
    const entries = this.geometry.refcountEntries;
    return this.#blocks[Math.floor(cluster / entries)]?.[cluster % entries] ?? 0;
  }

  block(index: number): RefcountArray | undefined {
    return this.#blocks[index];
  }

  /** True for a stored block that is all zeros. */
  isBlank(index: number): boolean {
    const block = this.#blocks[index];
    return block !== undefined && block === this.#blank;
  }

  /** The same as if these slots of the table were empty. */
  without(slots: ReadonlySet<number>): Refcounts {
    const table = this.table.map((offset, index) => (slots.has(index) ? 0 : offset));
    const blocks = this.#blocks.map((block, index) => (slots.has(index) ? undefined : block));
    return new Refcounts(this.geometry, this.tableOffset, table, blocks, this.#blank);
  }
}

/**
 * Reads the refcount table and every block it names, in file order.
 * @throws QcowalError IMAGE_INVALID for a slot that is not aligned, lies behind
 * the end of the file or names a block twice; LIMIT_EXCEEDED when the blocks do not fit in memory;
 * what `onBlock` throws, which is called for each block. With `onDamage`, such a
 * slot is told instead, and reads as if it were empty.
 */
export async function readRefcounts(
  disk: Disk,
  header: Header,
  fileSize: number,
  onBlock?: () => void,
  onDamage?: (slot: number, what: string) => void,
): Promise<Refcounts> {
  const { geometry } = header;
  const damage = onDamage ?? refuse(disk);
  const table = await readRefcountTable(disk, header, fileSize, damage);
  const slots = new Uint32Array(table.keys()).filter((index) => table[index] !== 0);
  slots.sort((a, b) => (table[a] ?? 0) - (table[b] ?? 0));
  let previous = -1;
  const distinct = slots.filter((index) => {
    const offset = table[index] ?? 0;
    const isRepeated = offset === previous;
    previous = offset;
    if (!isRepeated) return true;
    damage(index, `two slots of the refcount table name the block at ${hex(offset)}`);
    table[index] = 0;
    return false;
  });
  const offsets = Float64Array.from(distinct, (index) => table[index] ?? 0);
  const zeros = Buffer.alloc(geometry.clusterSize);
  const blank = decodeRefcountBlock(Buffer.from(zeros), geometry);
  const blocks: (RefcountArray | undefined)[] = [];
  let next = 0;
  let held = 0;
  for await (const { bytes } of readClusters(disk, offsets, geometry.clusterSize)) {
    onBlock?.();
    const index = distinct[next] ?? 0;
    next += 1;
    if (bytes.equals(zeros)) {
      blocks[index] = blank;
      continue;
    }
    held += geometry.clusterSize;
    if (held > MAX_BLOCK_BYTES) {
      throw new QcowalError(
        "LIMIT_EXCEEDED",
        `${disk.path}: refcount blocks exceed 2 GiB. Nothing was changed.`,
      );
    }
    blocks[index] = decodeRefcountBlock(Buffer.from(bytes), geometry);
  }
  return new Refcounts(geometry, header.refcountTableOffset, table, blocks, blank);
}

async function readRefcountTable(
  disk: Disk,
  header: Header,
  fileSize: number,
  damage: (slot: number, what: string) => void,
): Promise<Float64Array> {
  const { clusterSize } = header.geometry;
  const bytes = new Uint8Array(header.refcountTableClusters * clusterSize);
  await disk.read(header.refcountTableOffset, bytes);
  const view = new DataView(bytes.buffer);
  const table = new Float64Array(bytes.length / 8);
  for (let index = 0; index < table.length; index += 1) {
    if (view.getUint32(index * 8) === 0 && view.getUint32(index * 8 + 4) === 0) continue;
    const raw = view.getBigUint64(index * 8);
    if (raw % BigInt(clusterSize) !== 0n) {
      damage(index, `refcount table slot ${index} is not aligned (0x${raw.toString(16)})`);
    } else if (raw >= BigInt(fileSize)) {
      damage(index, `refcount block ${index} lies behind the end of the file (0x${raw.toString(16)})`);
    } else table[index] = hostOffset(Number(raw));
  }
  return table;
}

const hex = (offset: number): string => `0x${offset.toString(16)}`;

const refuse =
  (disk: Disk) =>
  (_slot: number, what: string): never => {
    throw invalid(disk, what);
  };

function invalid(disk: Disk, what: string): QcowalError {
  return new QcowalError(
    "IMAGE_INVALID",
    `${disk.path}: ${what}. Nothing was changed; 'qcowal repair' may mend it.`,
  );
}
