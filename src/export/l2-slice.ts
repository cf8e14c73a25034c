import {
  type Geometry,
  compressedLength,
  compressedOffset,
  entryOffset,
  isCompressed,
  isCopied,
  isZeroFlagged,
  l2EntryProblem,
} from "../format/index.ts";
import { type Segment, appendSegment } from "./segment.ts";

const SUBCLUSTERS = 32;

export interface SliceFacts {
  readonly geometry: Geometry;
  /** Offset 0 of a data file is a cluster like any other: there, the COPIED flag tells it from none. */
  readonly hasDataFile: boolean;
}

/** @throws Error with the reason when an entry makes no sense */
export function addEntry(
  segments: Segment[],
  { geometry, hasDataFile }: SliceFacts,
  words: Uint32Array,
  word: number,
  offset: number,
  end: number,
): void {
  const high = words[word] ?? 0;
  const low = words[word + 1] ?? 0;
  const { clusterSize } = geometry;
  const within = offset % clusterSize;
  const length = Math.min(clusterSize - within, end - offset);
  if (isCompressed(high)) {
    if (hasDataFile) throw new Error("it is compressed, which does not go with an external data file");
    const host = compressedOffset(geometry, high, low);
    const stored = compressedLength(geometry, high, low);
    if (!Number.isSafeInteger(host + stored)) throw new Error("its stream lies behind the end of any file");
    segments.push({ offset, length, kind: "compressed", host, stored, skip: within });
    return;
  }
  const problem = l2EntryProblem(geometry, high, low);
  if (problem !== undefined) throw new Error(problem);
  const cluster = entryOffset(high, low);
  const isAllocated = cluster !== 0 || (hasDataFile && isCopied(high));
  if (!Number.isSafeInteger(cluster)) throw new Error("its cluster lies behind the end of any file");
  if (geometry.extendedL2) {
    const zeros = words[word + 2] ?? 0;
    const allocated = words[word + 3] ?? 0;
    addSubclusters(segments, clusterSize, { cluster, isAllocated, zeros, allocated }, offset, length);
    return;
  }
  const host = isAllocated ? { host: cluster + within } : {};
  const isZero = isZeroFlagged(geometry, low);
  const kind = isZero ? "zero" : isAllocated ? "data" : "unallocated";
  appendSegment(segments, { offset, length, kind, ...host });
}

interface Subclusters {
  readonly cluster: number;
  readonly isAllocated: boolean;
  /** Bit N: subcluster N reads as zeros. */
  readonly zeros: number;
  /** Bit N: subcluster N lies in the cluster. */
  readonly allocated: number;
}

function addSubclusters(
  segments: Segment[],
  clusterSize: number,
  { cluster, isAllocated, zeros, allocated }: Subclusters,
  offset: number,
  length: number,
): void {
  if ((zeros & allocated) !== 0) throw new Error("a subcluster is both zeros and data");
  if (allocated !== 0 && !isAllocated) throw new Error("subclusters are data, but there is no cluster");
  const size = clusterSize / SUBCLUSTERS;
  const end = offset + length;
  for (let at = offset; at < end;) {
    const within = at % clusterSize;
    const index = Math.floor(within / size);
    const part = Math.min((index + 1) * size - within, end - at);
    const kind =
      ((zeros >>> index) & 1) !== 0 ? "zero" : ((allocated >>> index) & 1) !== 0 ? "data" : "unallocated";
    const host = isAllocated && kind !== "unallocated" ? { host: cluster + within } : {};
    appendSegment(segments, { offset: at, length: part, kind, ...host });
    at += part;
  }
}
