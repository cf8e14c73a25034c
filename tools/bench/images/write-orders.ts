import { type Random, seededRandom } from "../../image-maker/index.ts";
import type { AllocatorModel } from "./allocator-model.ts";

/** How a guest fills its disk: it decides where everything lies in the file. With another seed it does it otherwise in the same way. */
export type WriteOrder = (model: AllocatorModel, seed: number) => void;

/** From the first cluster on, as far as this part of the disk reaches. */
export const filledTo =
  (part: number): WriteOrder =>
  (model) => {
    const end = Math.floor(model.guestClusters * part);
    for (let guest = 0; guest < end; guest += 1) model.write(guest);
  };

/** From the first cluster to the last. */
export const sequential = filledTo(1);

/** Each cluster once, in an order without any locality: the worst case. */
export const shuffled: WriteOrder = (model, seed) => {
  const random = seededRandom(seed);
  const order = new Uint32Array(model.guestClusters).map((_, index) => index);
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = random.int(last + 1);
    const value = order[last] ?? 0;
    order[last] = order[other] ?? 0;
    order[other] = value;
  }
  for (const guest of order) model.write(guest);
};

const LARGEST_WRITE = 16;

/** Writes of 1 to 16 clusters at random places until the disk is full, as years of use leave it. */
export const mixed: WriteOrder = (model, seed) => {
  const random = seededRandom(seed);
  const { guestClusters } = model;
  const missing = Math.floor(guestClusters * 0.001);
  let written = 0;
  const isWritten = new Uint8Array(guestClusters);
  while (guestClusters - written > missing) {
    written += writeRun(model, random, isWritten);
  }
  for (let guest = 0; guest < guestClusters; guest += 1) model.write(guest);
};

function writeRun(model: AllocatorModel, random: Random, isWritten: Uint8Array): number {
  const start = random.int(model.guestClusters);
  const end = Math.min(model.guestClusters, start + 1 + random.int(LARGEST_WRITE));
  let fresh = 0;
  for (let guest = start; guest < end; guest += 1) {
    fresh += 1 - (isWritten[guest] ?? 0);
    isWritten[guest] = 1;
    model.write(guest);
  }
  return fresh;
}

/**
 * A guest changes a part of its clusters, less than all: in a few regions of the
 * disk, as file systems do, each 64 MiB long.
 */
export function change(model: AllocatorModel, part: number, seed: number): void {
  const random = seededRandom(seed);
  const region = Math.max(1, Math.min(Math.floor(model.guestClusters * part), 2 ** 26 / model.clusterSize));
  const regions = Math.max(1, Math.round((model.guestClusters * part) / region));
  for (let index = 0; index < regions; index += 1) {
    const start = random.int(Math.max(1, model.guestClusters - region));
    for (let guest = start; guest < start + region; guest += 1) model.write(guest);
  }
}
