import { AllocatorModel } from "./allocator-model.ts";
import { snapshotTableBytes, writeModel } from "./write-model.ts";
import { type WriteOrder, change, filledTo, mixed, sequential, shuffled } from "./write-orders.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const TIB = 2 ** 40;

/** What happened to the image before it is measured. */
export const STATES = ["plain", "one snapshot", "1 % changed", "all changed", "many snapshots"] as const;
export type State = (typeof STATES)[number];

export interface BenchImage {
  readonly name: string;
  readonly title: string;
  readonly virtualSize: number;
  readonly clusterBits: number;
  readonly order: WriteOrder;
  /** Snapshots with a change of 1 % before each; only then it has the state "many snapshots", and no other. */
  readonly snapshots?: number;
  /** The state that it cannot have. */
  readonly without?: State;
  /** Only the memory of ours is of interest: qemu-img would take minutes. */
  readonly isWithoutPeer?: boolean;
}

export const IMAGES: readonly BenchImage[] = [
  image("64m", "64 MiB, ordinary", 64 * MIB, 16, sequential),
  image("64g", "64 GiB, contiguous", 64 * GIB, 16, sequential),
  image("1t", "1 TiB, contiguous", TIB, 16, sequential),
  image("16g-random", "16 GiB, random order", 16 * GIB, 16, shuffled),
  image("64g-mixed", "64 GiB, realistic", 64 * GIB, 16, mixed),
  { ...image("64g-100", "64 GiB, 100 snapshots", 64 * GIB, 16, mixed), snapshots: 100 },
  // ext4 has no files above 16 TiB, so the disk cannot be full, nor hold everything twice.
  {
    ...image("16t", "16 TiB, 90 % full", 16 * TIB, 16, filledTo(0.9)),
    without: "all changed",
    isWithoutPeer: true,
  },
  { ...image("1t-4k", "1 TiB, 4 KiB clusters", TIB, 12, sequential), isWithoutPeer: true },
];

function image(
  name: string,
  title: string,
  virtualSize: number,
  clusterBits: number,
  order: WriteOrder,
): BenchImage {
  return { name, title, virtualSize, clusterBits, order };
}

/** The first snapshot is "s1". */
export const FIRST_SNAPSHOT = "s1";

export async function buildImage(path: string, spec: BenchImage, state: State): Promise<void> {
  const model = new AllocatorModel(spec.virtualSize, spec.clusterBits);
  spec.order(model);
  for (let index = 0; index < (spec.snapshots ?? 0); index += 1) {
    model.snapshot(`s${index + 1}`);
    change(model, 0.01, index + 1);
  }
  if (state !== "plain" && state !== "many snapshots") model.snapshot(FIRST_SNAPSHOT);
  if (state === "1 % changed") change(model, 0.01, 1);
  if (state === "all changed") change(model, 1, 1);
  model.finish(snapshotTableBytes(model.snapshots.map(({ name }) => name)));
  await writeModel(path, model);
}
