import type { FileHandle } from "node:fs/promises";
import {
  type Geometry,
  encodeNewHeader,
  l1EntriesFor,
  writeCompressedEntry,
  writeL1Entry,
} from "../format/index.ts";
import { NewRefcounts } from "./new-refcounts.ts";
import { WriteBuffer } from "./write-buffer.ts";

/**
 * An image of its own, without snapshots and backing file, that is written once, in the
 * order of the disk. Held are the L1 table, one L2 table and the counts of the end of the
 * file, whatever the size of the disk; the header comes last.
 */
export class NewQcow2 {
  readonly #geometry: Geometry;
  readonly #virtualSize: number;
  readonly #out: WriteBuffer;
  readonly #refcounts: NewRefcounts;
  readonly #l1: Buffer;
  readonly #l2: Buffer;
  #l2Index = -1;
  /** First cluster that is free. */
  #next = 1;
  /** Where a stream may begin, in a cluster that streams have begun to fill; 0 for nowhere. */
  #room = 0;

  /** `geometry`: version 3, refcounts of 16 bits, no extended L2 entries. `virtualSize`: whole sectors. */
  constructor(handle: FileHandle, geometry: Geometry, virtualSize: number) {
    this.#geometry = geometry;
    this.#virtualSize = virtualSize;
    this.#out = new WriteBuffer(handle);
    this.#refcounts = new NewRefcounts(geometry);
    this.#refcounts.add(0);
    this.#l1 = Buffer.alloc(l1EntriesFor(geometry, virtualSize) * 8);
    this.#l2 = Buffer.alloc(geometry.clusterSize);
  }

  /** A cluster of the disk, as a whole cluster. They come in ascending order, and those that are zeros not at all. */
  async addPlain(index: number, bytes: Uint8Array): Promise<void> {
    await this.#turnTo(index);
    const offset = await this.#put(bytes);
    writeL1Entry(viewOf(this.#l2), index % this.#geometry.l2Entries, offset, true);
  }

  /** The same as a stream of raw deflate that is shorter than a cluster. */
  async addStream(index: number, stream: Uint8Array): Promise<void> {
    await this.#turnTo(index);
    const offset = this.#placeStream(stream.length);
    await this.#out.write(offset, stream);
    writeCompressedEntry(
      this.#geometry,
      viewOf(this.#l2),
      index % this.#geometry.l2Entries,
      offset,
      stream.length,
    );
  }

  /** Writes what is left; then all of the file is there, but not synced. Returns its length. */
  async finish(): Promise<number> {
    await this.#endTable();
    await this.#closeCounts();
    const { clusterSize } = this.#geometry;
    const l1 = { offset: this.#next * clusterSize, entries: this.#l1.length / 8 };
    const l1Clusters = Math.ceil(this.#l1.length / clusterSize);
    for (let taken = 0; taken < l1Clusters; taken += 1) this.#take();
    await this.#out.write(l1.offset, this.#l1);
    await this.#closeCounts();
    const refcountTable = await this.#refcounts.finish(this.#next, (cluster, bytes) =>
      this.#out.write(cluster * clusterSize, bytes),
    );
    const header = { geometry: this.#geometry, virtualSize: this.#virtualSize, l1, refcountTable };
    await this.#out.write(0, encodeNewHeader(header));
    await this.#out.flush();
    return refcountTable.offset + refcountTable.clusters * clusterSize;
  }

  async #turnTo(index: number): Promise<void> {
    const table = Math.floor(index / this.#geometry.l2Entries);
    if (table !== this.#l2Index) await this.#endTable();
    this.#l2Index = table;
    await this.#closeCounts();
  }

  async #endTable(): Promise<void> {
    if (this.#l2Index < 0) return;
    await this.#closeCounts();
    writeL1Entry(viewOf(this.#l1), this.#l2Index, await this.#put(this.#l2), true);
    this.#l2.fill(0);
    this.#l2Index = -1;
  }

  async #put(bytes: Uint8Array): Promise<number> {
    const offset = this.#take() * this.#geometry.clusterSize;
    await this.#out.write(offset, bytes);
    return offset;
  }

  #take(): number {
    this.#refcounts.add(this.#next);
    this.#next += 1;
    return this.#next - 1;
  }

  /** Streams fill a cluster behind each other, and go on into the next one while that is free. */
  #placeStream(length: number): number {
    const { clusterSize } = this.#geometry;
    const rest = this.#room === 0 ? 0 : clusterSize - (this.#room % clusterSize);
    const isBeforeNext = this.#room !== 0 && this.#room + rest === this.#next * clusterSize;
    const begins = length <= rest || (rest > 0 && isBeforeNext);
    const offset = begins ? this.#room : this.#next * clusterSize;
    if (begins) this.#refcounts.add(Math.floor(offset / clusterSize));
    const end = offset + length;
    while (this.#next * clusterSize < end) this.#take();
    this.#room = end % clusterSize === 0 ? 0 : end;
    return offset;
  }

  /** Nothing is added any more to what the written refcount blocks count. */
  async #closeCounts(): Promise<void> {
    await this.#refcounts.close(
      () => this.#next,
      (block) => this.#put(block),
    );
    if (this.#room < this.#refcounts.openFrom * this.#geometry.clusterSize) this.#room = 0;
  }
}

const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
