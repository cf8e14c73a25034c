import { fillRefcounts } from "../format/index.ts";
import { invariant } from "../errors/index.ts";
import type { Image, RefcountTable } from "../image/index.ts";
import { type FillIntent, type Intent, PackedIntents, fill, fillOf } from "../intent/index.ts";
import { Discards } from "./discards.ts";
import type { RefcountChanges } from "./refcount-changes.ts";
import type { RefcountGrowth } from "./space.ts";

/** Runs of one intent: when it is carried out they are objects again, eight intents at a time. */
const MAX_RUNS = 2048;

export interface RefcountIntents {
  /** Contents of new refcount structures. */
  readonly reserve: Intent[];
  readonly raise: PackedIntents;
  readonly lower: PackedIntents;
  /** Clusters whose refcount becomes 0. */
  readonly discards: Discards;
}

export const noRefcountIntents = ({ header, fileSize }: Image): RefcountIntents => ({
  reserve: [],
  raise: new PackedIntents(),
  lower: new PackedIntents(),
  discards: new Discards(header.geometry.clusterSize, fileSize),
});

/** Turns the changes of a window into intents: what grows is raised before the switch, what shrinks is lowered behind it. */
export function addRefcountIntents(
  changes: RefcountChanges,
  growth: RefcountGrowth,
  result: RefcountIntents,
): void {
  const { geometry, table } = changes.stored;
  const scratch = new Uint8Array(growth.blocks.size > 0 ? geometry.clusterSize : 0);
  for (const [index, offset] of growth.blocks) {
    if (!changes.stored.covers(index)) continue;
    result.reserve.push(newBlock(changes, index, offset, scratch));
    if (growth.table !== undefined) continue;
    const slot = changes.stored.tableOffset + index * 8;
    result.raise.push({ kind: "pointer", slot, from: 0, to: offset });
  }
  for (const index of changes.blockIndexes) {
    if (growth.blocks.has(index)) continue;
    const { raise, lower, freed } = changes.changesIn(index);
    for (const [first, count] of freed) result.discards.add(first, count);
    const block = table[index] ?? 0;
    for (const runs of pieces(raise))
      result.raise.push({ kind: "refcount", block, order: geometry.refcountOrder, runs });
    for (const runs of pieces(lower))
      result.lower.push({ kind: "refcount", block, order: geometry.refcountOrder, runs });
  }
}

/** Contents of the new refcount table. */
export function newTableIntent(stored: RefcountTable, growth: RefcountGrowth): FillIntent {
  invariant(growth.table !== undefined, "no new refcount table");
  return fill(growth.table.offset, tableBytes(stored, growth, growth.table.clusters));
}

/** Every entry of a new block counts a cluster that this transaction reserves, so it is written whole. */
function newBlock(changes: RefcountChanges, index: number, offset: number, scratch: Uint8Array): FillIntent {
  const { geometry } = changes.stored;
  const { raise } = changes.changesIn(index);
  const runs = new Uint32Array(raise.length * 3);
  for (const [at, [first, count, , to]] of raise.entries()) runs.set([first, count, to], at * 3);
  const made = fillOf(offset, scratch, (bytes) => {
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < runs.length; at += 3) {
      const [first = 0, count = 0, to = 0] = runs.subarray(at, at + 3);
      fillRefcounts(view, geometry, first, count, to);
    }
  });
  return runs.byteLength < geometry.clusterSize ? made : fill(offset, scratch.slice());
}

function tableBytes(
  { geometry, table }: RefcountTable,
  growth: RefcountGrowth,
  clusters: number,
): Uint8Array {
  const bytes = new Uint8Array(clusters * geometry.clusterSize);
  const view = new DataView(bytes.buffer);
  for (const [index, offset] of table.entries()) view.setBigUint64(index * 8, BigInt(offset));
  for (const [index, offset] of growth.blocks) view.setBigUint64(index * 8, BigInt(offset));
  return bytes;
}

function* pieces<Run>(runs: readonly Run[]): Generator<readonly Run[]> {
  for (let at = 0; at < runs.length; at += MAX_RUNS) yield runs.slice(at, at + MAX_RUNS);
}
