import { QcowalError } from "../errors/index.ts";
import { type Geometry, MAX_L1_ENTRIES, geometryOf, l1EntriesFor } from "../format/index.ts";

const MIN_CLUSTER_BITS = 16;
const MAX_CLUSTER_BITS = 21;
const REFCOUNT_ORDER = 4;

/**
 * Of a new image with a disk of `size` bytes: as qemu-img makes it, with larger
 * clusters only for a disk that needs them.
 * @throws QcowalError LIMIT_EXCEEDED
 */
export function newGeometry(size: number): Geometry {
  for (let clusterBits = MIN_CLUSTER_BITS; clusterBits <= MAX_CLUSTER_BITS; clusterBits += 1) {
    const geometry = geometryOf({
      version: 3,
      clusterBits,
      refcountOrder: REFCOUNT_ORDER,
      extendedL2: false,
    });
    if (l1EntriesFor(geometry, size) <= MAX_L1_ENTRIES) return geometry;
  }
  throw new QcowalError(
    "LIMIT_EXCEEDED",
    `A disk of ${size} bytes is larger than a qcow2 image can hold. Nothing was written.`,
  );
}
