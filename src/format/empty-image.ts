import type { Geometry } from "./geometry.ts";
import { encodeNewHeader } from "./new-header.ts";

/** Header, refcount table, refcount block. */
const CLUSTERS = 3;

/** The file of an image of version 3 with a disk of no bytes, which grows from there. `geometry`: as of `encodeNewHeader`. */
export function emptyImage(geometry: Geometry): Uint8Array {
  const { clusterSize } = geometry;
  const bytes = new Uint8Array(CLUSTERS * clusterSize);
  const refcountTable = { offset: clusterSize, clusters: 1 };
  bytes.set(encodeNewHeader({ geometry, virtualSize: 0, l1: { offset: 0, entries: 0 }, refcountTable }));
  const view = new DataView(bytes.buffer);
  view.setBigUint64(clusterSize, BigInt(2 * clusterSize));
  for (let cluster = 0; cluster < CLUSTERS; cluster += 1) view.setUint16(2 * clusterSize + cluster * 2, 1);
  return bytes;
}
