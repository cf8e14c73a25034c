import type { Piece } from "./layer.ts";

/** Whole compressed clusters whose streams lie behind each other in the file. */
export interface CompressedRun {
  readonly offset: number;
  end: number;
  readonly pieces: Piece[];
}

/** What is read at once for streams behind each other: more saves no time. */
const MOST_BYTES = 2 * 1024 * 1024;
/** Reading so much that nobody wants is cheaper than another read. */
const MOST_GAP = 16 * 1024;

/**
 * Pieces whose streams one read can bring, together. A stream begins in the sector where the last
 * one ends; that of the next cluster lies somewhere near when several were written at a time.
 */
export function compressedRuns(pieces: readonly Piece[]): CompressedRun[] {
  const runs: CompressedRun[] = [];
  for (const piece of pieces.toSorted((a, b) => hostOf(a) - hostOf(b))) {
    const host = hostOf(piece);
    const end = host + (piece.segment.stored ?? 0);
    const run = runs.at(-1);
    const fits = run !== undefined && host <= run.end + MOST_GAP && end - run.offset <= MOST_BYTES;
    if (fits) {
      run.pieces.push(piece);
      run.end = Math.max(run.end, end);
    } else runs.push({ offset: host, end, pieces: [piece] });
  }
  return runs;
}

const hostOf = ({ segment }: Piece): number => segment.host ?? 0;
