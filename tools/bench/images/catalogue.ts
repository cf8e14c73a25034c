import { AllocatorModel } from "./allocator-model.ts";
import { snapshotTableBytes, writeModel } from "./write-model.ts";
import { type WriteOrder, change, filledTo, mixed, sequential, shuffled } from "./write-orders.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const TIB = 2 ** 40;

/** What happened to the image before it is measured. */
export const STATES = [
  "plain",
  "one snapshot",
  "1 % changed",
  /** In the way in which it was filled. */
  "all changed",
  "all changed in order",
  "many snapshots",
] as const;
export type State = (typeof STATES)[number];

export interface BenchImage {
  readonly name: string;
  readonly title: string;
  readonly virtualSize: number;
  readonly clusterBits: number;
  readonly order: WriteOrder;
  /** Snapshots with a change of 1 % before each; only then it has the state "many snapshots", and no other. */
  readonly snapshots?: number;
  /** States that it cannot have, or that are no different for it. */
  readonly without: readonly State[];
  /** Only the memory of ours is of interest: qemu-img would take minutes. */
  readonly isWithoutPeer?: boolean;
}

export const IMAGES: readonly BenchImage[] = [
  contiguous("64m", "64 MiB, ordinary", 64 * MIB, 16),
  contiguous("64g", "64 GiB, contiguous", 64 * GIB, 16),
  contiguous("1t", "1 TiB, contiguous", TIB, 16),
  fragmented("16g-random", "16 GiB, random order", 16 * GIB, shuffled),
  fragmented("64g-mixed", "64 GiB, realistic", 64 * GIB, mixed),
  { ...fragmented("64g-100", "64 GiB, 100 snapshots", 64 * GIB, mixed), snapshots: 100 },
  // ext4 has no files above 16 TiB, so the disk cannot be full, nor hold everything twice.
  {
    ...contiguous("16t", "16 TiB, 90 % full", 16 * TIB, 16),
    order: filledTo(0.9),
    without: ["all changed", "all changed in order"],
    isWithoutPeer: true,
  },
  { ...contiguous("1t-4k", "1 TiB, 4 KiB clusters", TIB, 12), isWithoutPeer: true },
];

function contiguous(name: string, title: string, virtualSize: number, clusterBits: number): BenchImage {
  return { name, title, virtualSize, clusterBits, order: sequential, without: ["all changed in order"] };
}

function fragmented(name: string, title: string, virtualSize: number, order: WriteOrder): BenchImage {
  return { name, title, virtualSize, clusterBits: 16, order, without: [] };
}

/** The first snapshot is "s1". */
export const FIRST_SNAPSHOT = "s1";

export async function buildImage(path: string, spec: BenchImage, state: State): Promise<void> {
  const model = new AllocatorModel(spec.virtualSize, spec.clusterBits);
  spec.order(model, 1);
  for (let index = 0; index < (spec.snapshots ?? 0); index += 1) {
    model.snapshot(`s${index + 1}`);
    change(model, 0.01, index + 1);
  }
  if (state !== "plain" && state !== "many snapshots") model.snapshot(FIRST_SNAPSHOT);
  if (state === "1 % changed") change(model, 0.01, 1);
  if (state === "all changed") spec.order(model, 2);
  if (state === "all changed in order") sequential(model, 2);
  model.finish(snapshotTableBytes(model.snapshots.map(({ name }) => name)));
  await writeModel(path, model);
}
