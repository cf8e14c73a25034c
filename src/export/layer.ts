import type { Segment } from "./segment.ts";

/** One file of a backing chain: the image, what backs it, what backs that, ... */
export interface Layer {
  readonly path: string;
  /** What the guest sees of it, in bytes. */
  readonly size: number;
  /** Segments without gaps from `offset` on, at least one byte and at most up to `end`, which lies inside the layer. */
  map(offset: number, end: number): Promise<Segment[]>;
  /** Fills `target` from a segment of kind `data` or `compressed`, `from` bytes behind its begin. */
  read(segment: Segment, from: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}
