import { type Geometry, isCompressed, isCopied } from "../format/index.ts";
import { type Image, type L1Location, readL1Table, readTables } from "../image/index.ts";
import { type CopiedIntent, type EntryRun, copiedChecksum } from "../intent/index.ts";

/**
 * COPIED flags of compressed clusters in L2 tables that only these snapshots
 * reach. What a flag says there is of no matter but for compressed clusters, of
 * which it must never be set; of the active layer's tables, `wrongFlags` says
 * all. Of some tables there are entries to leave out.
 */
export async function wrongStreamFlags(
  { disk, header }: Image,
  snapshots: readonly L1Location[],
  without: ReadonlyMap<number, readonly number[]>,
  onTable?: () => void,
): Promise<CopiedIntent[]> {
  const { geometry } = header;
  const active = { offset: header.l1TableOffset, entries: header.l1Size };
  const reached = new Set((await readL1Table(disk, geometry, active)).targets).add(0);
  const targets = new Set<number>();
  for (const location of snapshots) {
    for (const target of (await readL1Table(disk, geometry, location)).targets) {
      if (!reached.has(target)) targets.add(target);
    }
  }
  const intents: CopiedIntent[] = [];
  const inOrder = [...targets].toSorted((a, b) => a - b);
  for await (const { offset, words } of readTables(disk, inOrder, geometry.clusterSize)) {
    onTable?.();
    intents.push(...clearedStreams(geometry, offset, words, without.get(offset) ?? []));
  }
  return intents;
}

/** No checksum covers the entries `without`, which are ascending: they change in other ways. */
function clearedStreams(
  geometry: Geometry,
  offset: number,
  words: Uint32Array,
  without: readonly number[],
): CopiedIntent[] {
  const entrySize = geometry.l2EntrySize;
  const parts: { first: number; end: number; runs: EntryRun[] }[] = [];
  let first = 0;
  for (const end of [...without, (words.length * 4) / entrySize]) {
    const runs: EntryRun[] = [];
    for (let entry = first; entry < end; entry += 1) {
      const high = words[(entry * entrySize) / 4] ?? 0;
      if (!isCompressed(high) || !isCopied(high)) continue;
      const last = runs.at(-1);
      if (last !== undefined && last[0] + last[1] === entry - first)
        runs[runs.length - 1] = [last[0], last[1] + 1];
      else runs.push([entry - first, 1]);
    }
    if (runs.length > 0) parts.push({ first, end, runs });
    first = end + 1;
  }
  if (parts.length === 0) return [];
  const bytes = Buffer.from(words.buffer, words.byteOffset, words.byteLength).swap32();
  return parts.map(({ first: from, end, runs }) => {
    const table = bytes.subarray(from * entrySize, end * entrySize);
    const checksum = copiedChecksum(table, entrySize);
    const at = offset + from * entrySize;
    return { kind: "copied", table: at, length: table.length, entrySize, checksum, set: false, runs };
  });
}
