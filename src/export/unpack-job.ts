/** Streams of compressed clusters for another thread, in memory that both see: nothing is copied on the way. */
export interface UnpackJob {
  readonly id: number;
  readonly stored: SharedArrayBuffer;
  /** The content of the clusters, one behind the other. */
  readonly content: SharedArrayBuffer;
  readonly clusterSize: number;
  /** Where in `stored` each stream begins, and how long it may be. */
  readonly streams: readonly StreamPlace[];
}

export interface StreamPlace {
  readonly start: number;
  readonly length: number;
}

/** Which job ended, and of the first stream that is damaged which it is and why. */
export interface UnpackedJob {
  readonly id: number;
  readonly failed?: { readonly stream: number; readonly reason: string };
}
