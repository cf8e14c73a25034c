/** Words of a run: its entries, the first of them, and by how much the low half of each is above the one before. */
const RUN_WORDS = 4;
/** Runs that take more than this part of the table are not worth it. */
const MOST_PART = 1 / 4;

/**
 * The entries of a table as runs, where they are few: a disk that was written in
 * order has one in a table. Undefined for others. No meaning of an entry is known
 * here, so that the table comes back as it was, whatever is in it.
 */
export function packTable(words: Uint32Array): Uint32Array | undefined {
  const most = words.length * MOST_PART;
  const runs: number[] = [];
  for (let at = 0; at < words.length;) {
    if (runs.length + RUN_WORDS > most) return undefined;
    const high = words[at] ?? 0;
    const low = words[at + 1] ?? 0;
    const by = words[at + 2] === high ? ((words[at + 3] ?? 0) - low) >>> 0 : 0;
    let end = at + 2;
    for (let next = low; end < words.length; end += 2) {
      next = (next + by) >>> 0;
      if (words[end] !== high || words[end + 1] !== next) break;
    }
    runs.push((end - at) / 2, high, low, by);
    at = end;
  }
  return Uint32Array.from(runs);
}

/** Fills `words` with the entries again. */
export function unpackTable(runs: Uint32Array, words: Uint32Array): void {
  let at = 0;
  for (let run = 0; run < runs.length; run += RUN_WORDS) {
    const high = runs[run + 1] ?? 0;
    const by = runs[run + 3] ?? 0;
    let low = runs[run + 2] ?? 0;
    for (const end = at + (runs[run] ?? 0) * 2; at < end; at += 2) {
      words[at] = high;
      words[at + 1] = low;
      low = (low + by) >>> 0;
    }
  }
}
