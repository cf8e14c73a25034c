import { isEmptyEntry, readsAsZeros, tableWords } from "../format/index.ts";
import { type Image, type L1Table, isZeros } from "../image/index.ts";
import type { FillIntent } from "../intent/index.ts";
import type { ReceivedContent } from "./received-content.ts";
import { ReceivedData } from "./received-data.ts";
import { KEPT, NOTHING, type ReceivedTable, ZEROS, runsOf } from "./received-table.ts";
import type { Space } from "./space.ts";
import { type TouchedRun, touchedClusters, withoutOldTail } from "./touched-clusters.ts";

export const hasBackingFile = ({ header }: Image): boolean =>
  header.backingFileOffset !== 0 && header.backingFileSize > 0;

export interface CollectedTables {
  /** By place, ascending. */
  readonly tables: readonly ReceivedTable[];
  /** The new clusters of data. */
  readonly data: readonly FillIntent[];
}

export interface CollectOptions {
  /** The active L1 table as it is. */
  readonly l1: L1Table;
  /** Bytes of the disk, before and after. */
  readonly from: number;
  readonly to: number;
  readonly space: Space;
  /** Called for each table; what it throws calls it off. */
  readonly onTable?: (() => void) | undefined;
}

/** Decides for each cluster of the disk that is to hold something else where that will be, and reserves it. */
export async function collectReceived(
  image: Image,
  content: ReceivedContent,
  options: CollectOptions,
): Promise<CollectedTables> {
  const { clusterSize } = image.header.geometry;
  const { from, to } = options;
  const collector = new Collector(image, content, options);
  const ranges = withoutOldTail(content.changes(), { from, to, clusterSize });
  for await (const run of touchedClusters(ranges, clusterSize, to)) await collector.take(run);
  return collector.finish();
}

class Collector {
  readonly #image: Image;
  readonly #content: ReceivedContent;
  readonly #options: CollectOptions;
  readonly #data: ReceivedData;
  readonly #tables: ReceivedTable[] = [];
  readonly #hasBacking: boolean;
  /** Guest clusters from here on are none of the disk's that stays: whatever is mapped there goes. */
  readonly #dropped: number;
  /** The table at hand: its place, what is stored, and what becomes of each entry. */
  #place = -1;
  #old = 0;
  #words: Uint32Array = new Uint32Array(0);
  readonly #targets: Float64Array;

  constructor(image: Image, content: ReceivedContent, options: CollectOptions) {
    const { clusterSize, l2Entries } = image.header.geometry;
    this.#image = image;
    this.#content = content;
    this.#options = options;
    this.#data = new ReceivedData(content, clusterSize);
    this.#hasBacking = hasBackingFile(image);
    const { from, to } = options;
    this.#dropped = from === to ? Infinity : Math.ceil(Math.min(from, to) / clusterSize);
    this.#targets = new Float64Array(l2Entries).fill(KEPT);
  }

  async take({ first, count, kind, isWhole }: TouchedRun): Promise<void> {
    const { l2Entries } = this.#image.header.geometry;
    for (let cluster = first; cluster < first + count;) {
      const place = Math.floor(cluster / l2Entries);
      const end = Math.min(first + count, (place + 1) * l2Entries);
      const isNothing =
        kind !== "data" &&
        place !== this.#place &&
        !this.#hasBacking &&
        (this.#options.l1.targets[place] ?? 0) === 0;
      if (!isNothing) {
        await this.#open(place);
        for (; cluster < end; cluster += 1) await this.#change(cluster, kind, isWhole);
      }
      cluster = end;
    }
  }

  async finish(): Promise<CollectedTables> {
    await this.#pass(Infinity);
    return { tables: this.#tables, data: await this.#data.finish() };
  }

  async #change(cluster: number, kind: TouchedRun["kind"], isWhole: boolean): Promise<void> {
    const { clusterSize, l2Entries, version } = this.#image.header.geometry;
    const entry = cluster % l2Entries;
    const offset = cluster * clusterSize;
    if (kind !== "data") {
      if (this.#readsAsZeros(entry)) return;
      if (kind === "zeros" || (await this.#becomesZeros(offset))) {
        if (!this.#hasBacking) this.#targets[entry] = NOTHING;
        else if (version === 3) this.#targets[entry] = ZEROS;
        if (this.#targets[entry] !== KEPT) return;
        // Version 2 has no other way to hide what a backing file has there.
      }
    }
    const host = await this.#options.space.allocate(1);
    this.#targets[entry] = host;
    await this.#data.add(host, offset, isWhole);
  }

  #readsAsZeros(entry: number): boolean {
    const target = this.#targets[entry] ?? KEPT;
    if (target !== KEPT) return target === ZEROS || (target === NOTHING && !this.#hasBacking);
    return readsAsZeros(this.#image.header.geometry, this.#words, entry, this.#hasBacking);
  }

  async #becomesZeros(offset: number): Promise<boolean> {
    const bytes = Buffer.allocUnsafe(this.#image.header.geometry.clusterSize);
    await this.#content.read([{ offset, length: bytes.length, isWhole: false }], bytes);
    return isZeros(bytes);
  }

  async #open(place: number): Promise<void> {
    if (place === this.#place) return;
    await this.#pass(place);
    await this.#load(place);
  }

  /** Ends the table at hand, and drops what is to be dropped of those before `place`. */
  async #pass(place: number): Promise<void> {
    const { l1 } = this.#options;
    const { l2Entries } = this.#image.header.geometry;
    const first = Math.max(this.#place + 1, Math.floor(this.#dropped / l2Entries));
    await this.#close();
    for (let passed = first; passed < Math.min(place, l1.entries); passed += 1) {
      if ((l1.targets[passed] ?? 0) === 0) continue;
      await this.#load(passed);
      await this.#close();
    }
  }

  async #load(place: number): Promise<void> {
    const { geometry } = this.#image.header;
    const { clusterSize, l2Entries } = geometry;
    this.#options.onTable?.();
    this.#place = place;
    this.#old = this.#options.l1.targets[place] ?? 0;
    const bytes = Buffer.alloc(clusterSize);
    if (this.#old !== 0) await this.#image.disk.read(this.#old, bytes);
    this.#words = tableWords(bytes);
    for (let entry = Math.max(0, this.#dropped - place * l2Entries); entry < l2Entries; entry += 1) {
      if (!isEmptyEntry(geometry, this.#words, entry)) this.#targets[entry] = NOTHING;
    }
  }

  async #close(): Promise<void> {
    const { geometry } = this.#image.header;
    const runs = runsOf(this.#targets, geometry.clusterSize);
    if (runs.length === 0) return;
    const isLeft = this.#targets.some((target, entry) =>
      target === KEPT ? !isEmptyEntry(geometry, this.#words, entry) : target !== NOTHING,
    );
    this.#targets.fill(KEPT);
    // All of it was nothing before.
    if (!isLeft && this.#old === 0) return;
    const offset = isLeft ? await this.#options.space.allocate(1) : 0;
    this.#tables.push({ place: this.#place, old: this.#old, offset, runs, flips: [] });
  }
}
