import type { Geometry } from "../../format/index.ts";
import type { RangeMerger } from "./changed-range.ts";
import { EntryMapping, partsOf } from "./entry-mapping.ts";

/** COPIED says who else uses a cluster, nothing of what it holds. */
const WITHOUT_COPIED = 0x7fff_ffff;

/** What of the disk is looked at. */
export interface Window {
  readonly start: number;
  readonly end: number;
}

/** Compares the L2 tables that two states have for the same part of the disk. */
export class TableComparison {
  readonly #geometry: Geometry;
  readonly #merger: RangeMerger;
  readonly #from: EntryMapping;
  readonly #to: EntryMapping;

  constructor(geometry: Geometry, merger: RangeMerger) {
    this.#geometry = geometry;
    this.#merger = merger;
    this.#from = new EntryMapping(geometry);
    this.#to = new EntryMapping(geometry);
  }

  /** Adds what differs in the window. `base` is where on the disk the tables begin; an absent table maps nothing. */
  compare(from: Uint32Array | undefined, to: Uint32Array | undefined, base: number, window: Window): void {
    const { clusterSize } = this.#geometry;
    const [first, end] = this.#entriesIn(base, window);
    for (let index = first; index < end; index += 1) {
      if (this.#isSame(from, to, index)) continue;
      const guest = base + index * clusterSize;
      this.#from.take(from, index, guest);
      this.#to.take(to, index, guest);
      this.#compareParts(guest, window);
    }
  }

  /** Adds all of the window, as `to` maps it: the other state has no disk there. */
  addAll(to: Uint32Array | undefined, base: number, window: Window): void {
    const { clusterSize, l2Entries } = this.#geometry;
    if (to === undefined) {
      this.#add(base, clusterSize * l2Entries, "unallocated", 0, window);
      return;
    }
    const [first, end] = this.#entriesIn(base, window);
    const parts = partsOf(this.#geometry);
    for (let index = first; index < end; index += 1) {
      const guest = base + index * clusterSize;
      this.#to.take(to, index, guest);
      for (let part = 0; part < parts; part += 1) this.#addPart(guest, part, window);
    }
  }

  #entriesIn(base: number, { start, end }: Window): readonly [first: number, end: number] {
    const { clusterSize, l2Entries } = this.#geometry;
    const first = Math.max(0, Math.floor((start - base) / clusterSize));
    return [first, Math.min(l2Entries, Math.ceil((end - base) / clusterSize))];
  }

  #isSame(from: Uint32Array | undefined, to: Uint32Array | undefined, index: number): boolean {
    const words = this.#geometry.l2EntrySize / 4;
    const at = index * words;
    if ((((from?.[at] ?? 0) ^ (to?.[at] ?? 0)) & WITHOUT_COPIED) !== 0) return false;
    for (let word = 1; word < words; word += 1) {
      if ((from?.[at + word] ?? 0) !== (to?.[at + word] ?? 0)) return false;
    }
    return true;
  }

  #compareParts(guest: number, window: Window): void {
    const parts = partsOf(this.#geometry);
    const isMoved = this.#from.hostOffset !== this.#to.hostOffset;
    for (let part = 0; part < parts; part += 1) {
      const kind = this.#to.kindAt(part);
      // Two compressed entries that differ are two streams, or one of another length.
      const differs =
        kind !== this.#from.kindAt(part) || kind === "compressed" || (kind === "data" && isMoved);
      if (differs) this.#addPart(guest, part, window);
    }
  }

  #addPart(guest: number, part: number, window: Window): void {
    const length = this.#geometry.clusterSize / partsOf(this.#geometry);
    const at = part * length;
    this.#add(guest + at, length, this.#to.kindAt(part), this.#to.hostOffset + at, window);
  }

  #add(
    offset: number,
    length: number,
    kind: Parameters<RangeMerger["add"]>[2],
    hostOffset: number,
    { start, end }: Window,
  ): void {
    const first = Math.max(offset, start);
    const last = Math.min(offset + length, end);
    if (first < last) this.#merger.add(first, last - first, kind, hostOffset + (first - offset));
  }
}
