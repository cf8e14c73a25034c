/** One of the two states that a stream leads between. */
export interface StreamSide {
  /** Null for the active layer. */
  readonly snapshot: { readonly id: string; readonly name: string } | null;
  /** Size of the disk, in bytes. */
  readonly size: number;
}

/** What a stream says of itself, in its first frame, as JSON. */
export interface StreamHeader {
  /** Where it was made: for people. */
  readonly image: string;
  /** What it has to be applied to; null for a full stream, which is applied to nothing. */
  readonly from: StreamSide | null;
  /** What it makes of that. */
  readonly to: StreamSide;
}

/** What a stream says of itself in its last frame, as JSON. Digests are `contentDigest`s. */
export interface StreamEnd {
  /** Number of "data" and "zero" frames. */
  readonly records: number;
  /** Bytes in them. */
  readonly data: number;
  readonly zero: number;
  /** What `from` holds; null for a full stream. */
  readonly from: string | null;
  /** What `to` holds. */
  readonly to: string;
}

/** A verified frame. */
export type StreamItem = {
  /** Its bytes, those of the magic before the first one included: all frames together are the stream. */
  readonly frame: readonly Buffer[];
} & (
  | { readonly type: "header"; readonly header: StreamHeader }
  | { readonly type: "data"; readonly offset: number; readonly bytes: Buffer }
  | { readonly type: "zero"; readonly offset: number; readonly length: number }
  /** `digest` is that of the whole stream, in hexadecimal: its identity. */
  | { readonly type: "end"; readonly end: StreamEnd; readonly digest: string }
);
