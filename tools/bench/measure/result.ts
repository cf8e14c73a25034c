import type { IoCounts } from "./io-counts.ts";

export interface Measured {
  /** Median. */
  readonly seconds: number;
  readonly runs: number;
  readonly peakMemory: number;
  /** It was ended at the limit, and would have taken longer than `seconds`. */
  readonly isCutShort?: boolean;
  readonly io: IoCounts;
}

/** One operation on one image, as everybody does it. */
export interface Result {
  readonly image: string;
  readonly operation: string;
  /** The whole process, from start to end. */
  readonly ours: Measured;
  readonly peer: Measured | undefined;
  /** Median of the operation through the API, in a process that goes on. */
  readonly inProcess: number;
  /** Plain reading and writing of as many bytes as ours read and wrote in the image. */
  readonly floor: number;
  /** Our `recover` of the same operation, killed halfway; undefined for what only reads. */
  readonly recover: number | undefined;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = 0, high = 0] =
    sorted.length % 2 === 1 ? [sorted[middle], sorted[middle]] : [sorted[middle - 1], sorted[middle]];
  return (low + high) / 2;
}
