import type { Segment } from "./segment.ts";

/** All of a segment of kind `data` or `compressed`, and where its content is wanted. */
export interface Piece {
  readonly segment: Segment;
  /** As long as the segment. */
  readonly target: Uint8Array;
}

/** One file of a backing chain: the image, what backs it, what backs that, ... */
export interface Layer {
  readonly path: string;
  /** What the guest sees of it, in bytes. */
  readonly size: number;
  /** Segments without gaps from `offset` on, at least one byte and at most up to `end`, which lies inside the layer. */
  map(offset: number, end: number): Promise<Segment[]>;
  /** Fills the targets of pieces in the order of the disk, several at a time and neighbours at once. */
  read(pieces: readonly Piece[]): Promise<void>;
  close(): Promise<void>;
}
