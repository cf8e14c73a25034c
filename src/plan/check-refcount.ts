import { QcowalError } from "../errors/index.ts";
import type { Geometry } from "../format/index.ts";
import { damagedImage } from "./damaged-image.ts";

/**
 * Refuses a refcount that a cluster cannot get.
 * @throws QcowalError REFCOUNT_OVERFLOW, IMAGE_INVALID when it would fall below 0
 */
export function checkRefcount(
  image: string,
  { refcountMax, refcountOrder }: Geometry,
  cluster: number,
  from: number,
  to: number,
): void {
  if (!Number.isFinite(from)) {
    throw damagedImage(image, `the refcount of cluster ${cluster} is above 2^53, which no image reaches`);
  }
  if (to < 0) {
    throw damagedImage(image, `the refcount ${from} of cluster ${cluster} is lower than its references`);
  }
  if (to > refcountMax) {
    throw new QcowalError(
      "REFCOUNT_OVERFLOW",
      `${image}: cluster ${cluster} would get refcount ${to}, but its ${2 ** refcountOrder}-bit refcounts end at ${refcountMax}. Nothing was changed; delete a snapshot, or widen the refcounts ('qemu-img amend -o refcount_bits=16').`,
    );
  }
}
