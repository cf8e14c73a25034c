import type { Disk } from "../disk/index.ts";
import { QcowalError, reasonOf } from "../errors/index.ts";
import { type Geometry, l1Target, tableWords } from "../format/index.ts";
import type { L1Location } from "../image/index.ts";
import type { FileCache } from "./chain-cache.ts";
import { type CompressedRun, compressedRuns } from "./compressed-run.ts";
import { decompressCluster } from "./decompress.ts";
import { addEntry } from "./l2-slice.ts";
import type { Layer, Piece } from "./layer.ts";
import { READS_AT_A_TIME, inParallel } from "./parallel.ts";
import { type Segment, appendSegment } from "./segment.ts";
import { DamagedStream, type StoredStream, clustersAtATime, unpackRun, withRunBuffer } from "./unpack-run.ts";

/** Tables are held in slices: an L2 table may have 2 MiB, and a guest's reads be far from each other. */
const SLICE_BYTES = 8 * 1024;

export interface Qcow2Root {
  readonly geometry: Geometry;
  readonly l1: L1Location;
  readonly size: number;
  readonly compression: "zlib" | "zstd";
  /** Where guest data lies when it is not in the image itself. */
  readonly dataDisk?: Disk;
}

/** An active layer or a snapshot. */
export class Qcow2Layer implements Layer {
  readonly path: string;
  readonly size: number;
  readonly #disk: Disk;
  readonly #root: Qcow2Root;
  readonly #sliceBytes: number;
  readonly #cache: FileCache;

  constructor(disk: Disk, root: Qcow2Root, cache: FileCache) {
    this.#disk = disk;
    this.#root = root;
    this.#cache = cache;
    this.path = disk.path;
    this.size = root.size;
    this.#sliceBytes = Math.min(SLICE_BYTES, root.geometry.clusterSize);
  }

  async map(offset: number, end: number): Promise<Segment[]> {
    const { geometry, l1 } = this.#root;
    const tableSpan = geometry.clusterSize * geometry.l2Entries;
    const index = Math.floor(offset / tableSpan);
    if (index >= l1.entries) return [{ offset, length: end - offset, kind: "unallocated" }];
    const perSlice = this.#sliceBytes / 8;
    const l1Words = await this.#slice(l1.offset + Math.floor(index / perSlice) * this.#sliceBytes);
    const word = (index % perSlice) * 2;
    const table = l1Target(geometry, l1Words[word] ?? 0, l1Words[word + 1] ?? 0);
    if (table < 0) throw this.#invalid(`entry ${index} of the L1 table at ${hex(l1.offset)} is invalid`);
    if (table === 0) return [this.#hole(l1Words, index, offset, end)];
    return this.#mapTable(table, offset, Math.min(end, (index + 1) * tableSpan));
  }

  /** As far as the slice says that there is no L2 table. */
  #hole(l1Words: Uint32Array, index: number, offset: number, end: number): Segment {
    const { geometry, l1 } = this.#root;
    const tableSpan = geometry.clusterSize * geometry.l2Entries;
    let next = index + 1;
    for (let word = (index % (this.#sliceBytes / 8)) * 2 + 2; word < l1Words.length; word += 2, next += 1) {
      if (next >= l1.entries || ((l1Words[word] ?? 0) | (l1Words[word + 1] ?? 0)) !== 0) break;
    }
    return { offset, length: Math.min(end, next * tableSpan) - offset, kind: "unallocated" };
  }

  async #mapTable(table: number, offset: number, end: number): Promise<Segment[]> {
    const { geometry, dataDisk } = this.#root;
    const { clusterSize, l2Entries, l2EntrySize } = geometry;
    const first = Math.floor(offset / clusterSize) % l2Entries;
    const perSlice = this.#sliceBytes / l2EntrySize;
    const words = await this.#slice(table + Math.floor(first / perSlice) * this.#sliceBytes);
    const facts = { geometry, hasDataFile: dataDisk !== undefined };
    const segments: Segment[] = [];
    const step = l2EntrySize / 4;
    let at = offset;
    for (let word = (first % perSlice) * step; word < words.length && at < end; word += step) {
      const next = Math.min((Math.floor(at / clusterSize) + 1) * clusterSize, end);
      if (((words[word] ?? 0) | (words[word + 1] ?? 0)) === 0 && step === 2) {
        appendSegment(segments, { offset: at, length: next - at, kind: "unallocated" });
      } else {
        try {
          addEntry(segments, facts, words, word, at, end);
        } catch (error) {
          const entry = Math.floor(at / clusterSize) % l2Entries;
          throw this.#invalid(`entry ${entry} of the L2 table at ${hex(table)}: ${reasonOf(error)}`);
        }
      }
      at = next;
    }
    return segments;
  }

  async read(pieces: readonly Piece[]): Promise<void> {
    const [only] = pieces;
    if (only !== undefined && pieces.length === 1) {
      await this.#readOne(only);
      return;
    }
    const { clusterSize } = this.#root.geometry;
    const isWhole = ({ segment: { kind, length } }: Piece): boolean =>
      kind === "compressed" && length === clusterSize;
    const whole = pieces.filter(isWhole);
    const others = pieces.filter((piece) => !isWhole(piece));
    const most = clustersAtATime(clusterSize);
    const batches = Array.from({ length: Math.ceil(whole.length / most) }, (_, index) =>
      whole.slice(index * most, (index + 1) * most),
    );
    await inParallel([...batches, ...others], READS_AT_A_TIME, (item) =>
      "segment" in item ? this.#readOne(item) : this.#readWhole(item),
    );
  }

  async #readOne({ segment, target }: Piece): Promise<void> {
    const host = segment.host ?? 0;
    if (segment.kind === "data") {
      await (this.#root.dataDisk ?? this.#disk).read(host, target);
      return;
    }
    const content = await this.#cache.cluster(host, this.#root.geometry.clusterSize, async () => {
      const stored = Buffer.allocUnsafeSlow(segment.stored ?? 0);
      await this.#disk.read(host, stored);
      return this.#decompressed(host, stored);
    });
    const start = segment.skip ?? 0;
    target.set(content.subarray(start, start + target.length));
  }

  /** Whole compressed clusters are not held for later: whoever reads those reads on. */
  async #readWhole(pieces: readonly Piece[]): Promise<void> {
    const { geometry, compression } = this.#root;
    const runs: (CompressedRun & { readonly place: number })[] = [];
    const streams: (StoredStream & { readonly host: number })[] = [];
    let length = 0;
    for (const run of compressedRuns(pieces)) {
      runs.push({ ...run, place: length });
      for (const { segment, target } of run.pieces) {
        const { host = 0, stored = 0 } = segment;
        streams.push({ start: length + host - run.offset, length: stored, target, host });
      }
      length += run.end - run.offset;
    }
    await withRunBuffer(compression, length, async (stored) => {
      await inParallel(runs, READS_AT_A_TIME, async ({ offset, end, place }) => {
        await this.#disk.read(offset, stored.subarray(place, place + end - offset));
      });
      try {
        await unpackRun(compression, stored, streams, geometry.clusterSize);
      } catch (error) {
        if (!(error instanceof DamagedStream)) throw error;
        throw this.#damaged(streams[error.index]?.host ?? 0, error.message);
      }
    });
  }

  async #decompressed(host: number, stored: Uint8Array): Promise<Uint8Array> {
    const { geometry, compression } = this.#root;
    try {
      return await decompressCluster(compression, stored, geometry.clusterSize);
    } catch (error) {
      throw this.#damaged(host, reasonOf(error));
    }
  }

  #damaged(host: number, reason: string): QcowalError {
    return this.#invalid(`the compressed cluster at ${hex(host)} cannot be unpacked: ${reason}`);
  }

  #slice(offset: number): Promise<Uint32Array> {
    return this.#cache.table(offset, this.#sliceBytes, async () => {
      const bytes = Buffer.alloc(this.#sliceBytes);
      await this.#disk.read(offset, bytes);
      return tableWords(bytes);
    });
  }

  #invalid(what: string): QcowalError {
    return new QcowalError(
      "IMAGE_INVALID",
      `${this.path}: ${what.replace(/\.$/, "")}. Nothing was changed; 'qcowal check' says more.`,
    );
  }

  async close(): Promise<void> {
    await this.#disk.close();
    await this.#root.dataDisk?.close();
  }
}

const hex = (offset: number): string => `0x${offset.toString(16)}`;
