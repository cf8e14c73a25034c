/**
 * What differs between two states of a disk, found from their mappings alone.
 *
 * QEMU never writes in place to a cluster that a snapshot shares, so that the
 * same entry in both states is the same content, and an L2 table that both refer
 * to need not be read: the cost is that of the tables that differ.
 */
import type { Disk } from "../../disk/index.ts";
import { type Geometry, l1EntriesFor } from "../../format/index.ts";
import { type ChangedRange, RangeMerger } from "./changed-range.ts";
import { TableComparison, type Window } from "./compare-tables.ts";
import type { Root } from "./root.ts";
import { tablePairs } from "./table-pairs.ts";

/** Called between tables with the bytes of the disk that are behind; what it throws ends the comparison. */
export type DiffCheckpoint = (done: number, total: number) => void;

/**
 * In the order of the disk, merged as far as they are stored alike. What one disk
 * has and the other does not differs. Memory does not depend on the image.
 * @throws QcowalError IMAGE_INVALID, IO_FAILED
 */
export async function* diffRoots(
  disk: Disk,
  geometry: Geometry,
  from: Root,
  to: Root,
  checkpoint: DiffCheckpoint = () => undefined,
): AsyncGenerator<ChangedRange> {
  const finished: ChangedRange[] = [];
  const merger = new RangeMerger((range) => finished.push(range));
  const comparison = new TableComparison(geometry, merger);
  const span = geometry.clusterSize * geometry.l2Entries;
  const common = Math.min(from.size, to.size);
  const total = Math.max(from.size, to.size);
  checkpoint(0, total);

  const shared: Window = { start: 0, end: common };
  const range = { first: 0, end: l1EntriesFor(geometry, common), differing: true };
  for await (const pair of tablePairs(disk, geometry, { from: from.l1, to: to.l1 }, range)) {
    const base = pair.index * span;
    comparison.compare(pair.from, pair.to, base, shared);
    yield* finished.splice(0);
    checkpoint(Math.min(base + span, common), total);
  }

  if (to.size > common) {
    const grown: Window = { start: common, end: to.size };
    const range = {
      first: Math.floor(common / span),
      end: l1EntriesFor(geometry, to.size),
      differing: false,
    };
    for await (const pair of tablePairs(disk, geometry, { from: undefined, to: to.l1 }, range)) {
      const base = pair.index * span;
      comparison.addAll(pair.to, base, grown);
      yield* finished.splice(0);
      checkpoint(Math.min(base + span, total), total);
    }
  } else if (from.size > common) {
    merger.add(common, from.size - common, "outside");
  }
  merger.flush();
  yield* finished;
  checkpoint(total, total);
}
