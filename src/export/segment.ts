/** How a part of a file in a backing chain is stored, as that file says it. */
export interface Segment {
  readonly offset: number;
  length: number;
  readonly kind: "data" | "compressed" | "zero" | "unallocated";
  /** Where `data` lies, the stream of `compressed` begins, or the cluster that `zero` keeps is. */
  readonly host?: number;
  /** Bytes that are stored of a compressed cluster. */
  readonly stored?: number;
  /** Where in its cluster a compressed segment begins. */
  readonly skip?: number;
}

/** Appends, merged with the last one where both are stored alike and without a gap. */
export function appendSegment(segments: Segment[], next: Segment): void {
  const last = segments.at(-1);
  const fits =
    last !== undefined &&
    last.kind === next.kind &&
    next.kind !== "compressed" &&
    (last.host === undefined ? next.host === undefined : last.host + last.length === next.host);
  if (fits) last.length += next.length;
  else segments.push(next);
}
