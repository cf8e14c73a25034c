import { writeRefcount } from "../format/index.ts";
import { type Intent, PackedIntents, fill } from "../intent/index.ts";
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

/** Turns the changes into intents: what grows is raised before the switch, what shrinks is lowered behind it. */
export function refcountIntents(
  changes: RefcountChanges,
  growth: RefcountGrowth,
  fileSize: number,
): RefcountIntents {
  const { geometry, table } = changes.stored;
  const result: RefcountIntents = {
    reserve: [],
    raise: new PackedIntents(),
    lower: new PackedIntents(),
    discards: new Discards(geometry.clusterSize, fileSize),
  };
  for (const index of changes.blockIndexes) {
    const newBlock = growth.blocks.get(index);
    if (newBlock !== undefined) {
      result.reserve.push(fill(newBlock, newBlockBytes(changes, index)));
      if (growth.table === undefined) {
        const slot = changes.stored.tableOffset + index * 8;
        result.raise.push({ kind: "pointer", slot, from: 0, to: newBlock });
      }
      continue;
    }
    const { raise, lower, freed } = changes.changesIn(index);
    for (const [first, count] of freed) result.discards.add(first, count);
    const block = table[index] ?? 0;
    for (const runs of pieces(raise))
      result.raise.push({ kind: "refcount", block, order: geometry.refcountOrder, runs });
    for (const runs of pieces(lower))
      result.lower.push({ kind: "refcount", block, order: geometry.refcountOrder, runs });
  }
  if (growth.table !== undefined) result.reserve.push(fill(growth.table.offset, tableBytes(changes, growth)));
  return result;
}

/** Every entry of a new block counts a cluster that this transaction reserves, so it is written whole. */
function newBlockBytes(changes: RefcountChanges, index: number): Uint8Array {
  const { geometry } = changes.stored;
  const bytes = new Uint8Array(geometry.clusterSize);
  const view = new DataView(bytes.buffer);
  for (const [first, count, , to] of changes.changesIn(index).raise) {
    for (let entry = first; entry < first + count; entry += 1) writeRefcount(view, geometry, entry, to);
  }
  return bytes;
}

function tableBytes(changes: RefcountChanges, growth: RefcountGrowth): Uint8Array {
  const { geometry, table } = changes.stored;
  const bytes = new Uint8Array((growth.table?.clusters ?? 0) * geometry.clusterSize);
  const view = new DataView(bytes.buffer);
  for (const [index, offset] of table.entries()) view.setBigUint64(index * 8, BigInt(offset));
  for (const [index, offset] of growth.blocks) view.setBigUint64(index * 8, BigInt(offset));
  return bytes;
}

function* pieces<Run>(runs: readonly Run[]): Generator<readonly Run[]> {
  for (let at = 0; at < runs.length; at += MAX_RUNS) yield runs.slice(at, at + MAX_RUNS);
}
