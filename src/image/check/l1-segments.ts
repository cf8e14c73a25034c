import { type CheckContext, type Root, readEntries } from "./context.ts";

/** More names than these say no more. */
const MAX_NAMED = 32;

/** Bytes of the file that the same L1 tables cover. */
export interface L1Segment {
  readonly offset: number;
  readonly length: number;
  /** How many L1 tables lie here. In a sound image that is one. */
  readonly weight: number;
  /** True when one of them is that of the active layer. */
  readonly isActive: boolean;
  /** The first of the roots whose tables they are. */
  readonly roots: readonly Root[];
}

interface Edge {
  readonly at: number;
  readonly root: Root;
  readonly isEnd: boolean;
}

/**
 * Cuts the file where L1 tables begin and end. In a damaged image 65,536
 * snapshots may have one table of 32 MiB, or tables that overlap: whatever is
 * done with each byte of a table is done once for all of them. `unit` is what
 * beginnings and ends are rounded to.
 */
export function* l1Segments(roots: readonly Root[], unit: number): Generator<L1Segment> {
  const edges = roots.flatMap((root): Edge[] => {
    if (root.entries === 0) return [];
    const end = Math.ceil((root.offset + root.entries * 8) / unit) * unit;
    return [
      { at: Math.floor(root.offset / unit) * unit, root, isEnd: false },
      { at: end, root, isEnd: true },
    ];
  });
  edges.sort((a, b) => a.at - b.at);
  const here = new Set<Root>();
  let isActive = false;
  let from = 0;
  for (const { at, root, isEnd } of edges) {
    if (at > from && here.size > 0) {
      const named: Root[] = [];
      for (const other of here) if (named.push(other) === MAX_NAMED) break;
      yield { offset: from, length: at - from, weight: here.size, isActive, roots: named };
    }
    from = at;
    if (isEnd) here.delete(root);
    else here.add(root);
    if (root.snapshot === undefined) isActive = !isEnd;
  }
}

/** Entries of L1 tables that lie in one segment. */
export interface L1Piece {
  readonly segment: L1Segment;
  /** Host offset of the first of them. */
  readonly offset: number;
  /** (high, low) pairs. */
  readonly words: Uint32Array;
}

/**
 * The entries of the L1 tables of `roots`, each once, in file order; segments
 * that follow each other are read as one. A piece is valid until the next is
 * asked for: damage can make many segments, and they are not held.
 */
export async function* l1Pieces(context: CheckContext, roots: readonly Root[]): AsyncGenerator<L1Piece> {
  const segments = l1Segments(roots, 8);
  let next = segments.next();
  for (const { start, end } of runsOf(roots)) {
    for await (const { first, words } of readEntries(context, start, (end - start) / 8)) {
      const from = start + first * 8;
      const behind = from + words.length * 4;
      while (next.done !== true && next.value.offset + next.value.length <= from) next = segments.next();
      for (let offset = from; offset < behind && next.done !== true;) {
        const segment = next.value;
        const stop = Math.min(behind, segment.offset + segment.length);
        yield { segment, offset, words: words.subarray((offset - from) / 4, (stop - from) / 4) };
        offset = stop;
        if (offset === segment.offset + segment.length) next = segments.next();
      }
    }
    // What lies behind the end of the file was not read: it has no entries.
    while (next.done !== true && next.value.offset < end) next = segments.next();
  }
}

/** Where L1 tables lie that follow each other or overlap. */
function* runsOf(roots: readonly Root[]): Generator<{ readonly start: number; readonly end: number }> {
  const ordered = roots.filter(({ entries }) => entries > 0).toSorted((a, b) => a.offset - b.offset);
  let start = ordered[0]?.offset ?? 0;
  let end = start;
  for (const { offset, entries } of ordered) {
    if (offset > end) {
      yield { start, end };
      start = offset;
    }
    end = Math.max(end, offset + entries * 8);
  }
  if (end > start) yield { start, end };
}
