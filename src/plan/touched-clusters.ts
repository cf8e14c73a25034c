import type { ReceivedRange } from "./received-content.ts";

/** Guest clusters in a row that are to hold something else. */
export interface TouchedRun {
  readonly first: number;
  readonly count: number;
  /** `some zeros`: part of the one cluster becomes zeros, the rest stays what it is. */
  readonly kind: "data" | "zeros" | "some zeros";
  /** Nothing of what they hold now stays. */
  readonly isWhole: boolean;
}

/** What is known of a cluster so far. */
interface Touched {
  readonly cluster: number;
  hasData: boolean;
  /** Behind what is covered without a gap from its beginning. */
  coveredTo: number;
}

/** Turns ranges of bytes, ascending, into clusters of a disk of `size` bytes, each of them once. */
export async function* touchedClusters(
  ranges: AsyncIterable<ReceivedRange>,
  clusterSize: number,
  size: number,
): AsyncGenerator<TouchedRun> {
  let last: Touched | undefined;
  const runOf = ({ cluster, hasData, coveredTo }: Touched): TouchedRun => {
    const isWhole = coveredTo >= Math.min((cluster + 1) * clusterSize, size);
    return { first: cluster, count: 1, kind: hasData ? "data" : isWhole ? "zeros" : "some zeros", isWhole };
  };
  const touch = (cluster: number, start: number, end: number, isZero: boolean): void => {
    if (last?.cluster !== cluster) last = { cluster, hasData: false, coveredTo: cluster * clusterSize };
    if (!isZero) last.hasData = true;
    if (start <= last.coveredTo) last.coveredTo = Math.max(last.coveredTo, end);
  };
  for await (const { offset, length, isZero } of ranges) {
    const end = offset + length;
    const firstCluster = Math.floor(offset / clusterSize);
    const endCluster = Math.ceil(end / clusterSize);
    if (last !== undefined && last.cluster !== firstCluster) yield runOf(last);
    touch(firstCluster, offset, Math.min(end, (firstCluster + 1) * clusterSize), isZero);
    if (endCluster - firstCluster === 1) continue;
    yield runOf(last as unknown as Touched);
    const between = endCluster - firstCluster - 2;
    if (between > 0) {
      yield { first: firstCluster + 1, count: between, kind: isZero ? "zeros" : "data", isWhole: true };
    }
    touch(endCluster - 1, (endCluster - 1) * clusterSize, end, isZero);
  }
  if (last !== undefined) yield runOf(last);
}

/**
 * The same ranges and, where a disk grows from `from` to `to` bytes, zeros up to
 * the end of the cluster in which it ended: what lies there behind the end no
 * guest has seen, and none is to see it.
 */
export async function* withoutOldTail(
  ranges: AsyncIterable<ReceivedRange>,
  { from, to, clusterSize }: { readonly from: number; readonly to: number; readonly clusterSize: number },
): AsyncGenerator<ReceivedRange> {
  const end = Math.min(Math.ceil(from / clusterSize) * clusterSize, to);
  let reached = from;
  let isDone = end <= from;
  const tail = (): ReceivedRange[] => {
    isDone = true;
    return end > reached ? [{ offset: reached, length: end - reached, isZero: true }] : [];
  };
  for await (const range of ranges) {
    if (!isDone && range.offset >= from) yield* tail();
    reached = Math.max(reached, range.offset + range.length);
    yield range;
  }
  if (!isDone) yield* tail();
}
