/** A part of the guest's disk that two states of an image map differently. Offsets and lengths are bytes of that disk. */
export interface ChangedRange {
  readonly offset: number;
  readonly length: number;
  /** How the second state has it. */
  readonly kind: ChangedKind;
  /** Where in the image file `data` begins. */
  readonly hostOffset?: number;
}

/**
 * `unallocated`: the image says nothing; what backs it shows through, else zeros.
 * `outside`: the disk of the second state ends before it.
 */
export type ChangedKind = "data" | "compressed" | "zero" | "unallocated" | "outside";

/** Joins neighbours that are stored alike, as a map of the image would show them. */
export class RangeMerger {
  readonly #finished: (range: ChangedRange) => void;
  #offset = 0;
  #length = 0;
  #kind: ChangedKind = "unallocated";
  #hostOffset = 0;

  /** `finished` is told each range that can grow no more, in the order of the disk. */
  constructor(finished: (range: ChangedRange) => void) {
    this.#finished = finished;
  }

  /** The next range in the order of the disk; `hostOffset` counts for data only. */
  add(offset: number, length: number, kind: ChangedKind, hostOffset = 0): void {
    if (this.#length > 0) {
      const continues =
        kind === this.#kind &&
        offset === this.#offset + this.#length &&
        (kind !== "data" || hostOffset === this.#hostOffset + this.#length);
      if (continues) {
        this.#length += length;
        return;
      }
    }
    this.flush();
    this.#offset = offset;
    this.#length = length;
    this.#kind = kind;
    this.#hostOffset = hostOffset;
  }

  /** Nothing follows. */
  flush(): void {
    if (this.#length === 0) return;
    this.#finished({
      offset: this.#offset,
      length: this.#length,
      kind: this.#kind,
      ...(this.#kind === "data" ? { hostOffset: this.#hostOffset } : {}),
    });
    this.#length = 0;
  }
}
