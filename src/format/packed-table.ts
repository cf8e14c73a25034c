import { RUN_WORDS, type TableKernel, tableKernel } from "./table-kernel.ts";

/** Runs that take more than this part of the table are not worth it. */
const MOST_PART = 1 / 4;
const ENTRY_BYTES = 8;
const WORD = 2 ** 32;

/**
 * The entries of a stored table as runs, where they are few: a disk that was
 * written in order has one in a table. Undefined for others. In a run each entry
 * is by the same above the one before it: `stride`, or nothing; four words: its
 * entries, the high and the low half of the first, and by how much. No meaning of
 * an entry is known here, so that the table comes back as it was, whatever is in it.
 */
export function packTable(
  table: Buffer,
  stride: number,
  kernel: TableKernel | undefined = tableKernel(),
): Uint32Array | undefined {
  const most = Math.floor((table.length * MOST_PART) / (RUN_WORDS * Uint32Array.BYTES_PER_ELEMENT));
  return kernel?.fits(table.length) === true
    ? kernel.pack(table, stride, most)
    : packedByEntry(table, stride, most);
}

function packedByEntry(table: Buffer, stride: number, most: number): Uint32Array | undefined {
  const runs: number[] = [];
  for (let at = 0; at < table.length;) {
    if (runs.length === most * RUN_WORDS) return undefined;
    const from = at;
    const high = table.readUInt32BE(at);
    const low = table.readUInt32BE(at + 4);
    const isNext = (next: number, by: number): boolean => {
      const sum = low + ((next - from) / ENTRY_BYTES) * by;
      return (
        table.readUInt32BE(next + 4) === sum % WORD &&
        table.readUInt32BE(next) === (high + Math.floor(sum / WORD)) % WORD
      );
    };
    at += ENTRY_BYTES;
    const by = at < table.length && isNext(at, stride) ? stride : 0;
    while (at < table.length && isNext(at, by)) at += ENTRY_BYTES;
    runs.push((at - from) / ENTRY_BYTES, high, low, by);
  }
  return Uint32Array.from(runs);
}

/** Fills `table` with the entries of the runs that were found in one of this length. */
export function unpackTable(
  runs: Uint32Array,
  table: Buffer,
  kernel: TableKernel | undefined = tableKernel(),
): void {
  if (kernel?.fits(table.length) === true) {
    kernel.unpack(runs, table);
    return;
  }
  let at = 0;
  for (let run = 0; run < runs.length; run += RUN_WORDS) {
    const by = runs[run + 3] ?? 0;
    let high = runs[run + 1] ?? 0;
    let low = runs[run + 2] ?? 0;
    for (const end = at + (runs[run] ?? 0) * ENTRY_BYTES; at < end; at += ENTRY_BYTES) {
      table.writeUInt32BE(high, at);
      table.writeUInt32BE(low, at + 4);
      low += by;
      if (low < WORD) continue;
      low -= WORD;
      high = (high + 1) % WORD;
    }
  }
}
