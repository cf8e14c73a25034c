import type { L2Reference } from "../format/index.ts";
import type { Image } from "./image.ts";
import { type L1Location, checkL1Location } from "./l1-table.ts";

/** The L1 tables of an image, and what each is. */
export function* roots({ disk, header, snapshotTable }: Image): Generator<readonly [L1Location, string]> {
  yield [{ offset: header.l1TableOffset, entries: header.l1Size }, "the active L1 table"];
  for (const { id, entry } of snapshotTable.snapshots) {
    const owner = `${disk.path}: snapshot id ${id}`;
    yield [
      checkL1Location(header.geometry, entry.l1TableOffset, entry.l1Size, owner),
      `the L1 table of snapshot id ${id}`,
    ];
  }
}

/** Compressed data has no subclusters, none can be two things at once, and without a cluster none is allocated. */
export function subclustersDisagree(kind: L2Reference["kind"], zeros: number, allocated: number): boolean {
  if (kind === "compressed") return (zeros | allocated) !== 0;
  return (zeros & allocated) !== 0 || (kind === "none" && allocated !== 0);
}
