/** What the rules look at. */
export interface PrunableSnapshot {
  /** Tells it from the others of its image. */
  readonly key: string;
  readonly name: string;
  /** When it was taken, in milliseconds since 1970. */
  readonly time: number;
  /** A schedule took it, not a person. */
  readonly auto: boolean;
  /** Somebody asked that it stays. */
  readonly held?: boolean;
  /** Bytes that nothing else of the image uses; needed with `maxSpace`. */
  readonly exclusiveBytes?: number;
}

/** What becomes of a snapshot, and why, in words. */
export interface Verdict<Snapshot extends PrunableSnapshot = PrunableSnapshot> {
  readonly snapshot: Snapshot;
  readonly keep: boolean;
  /** Never empty. */
  readonly reasons: readonly string[];
}
