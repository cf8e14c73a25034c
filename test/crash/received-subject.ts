import { makeImage, type ImageSpec } from "../../tools/image-maker/index.ts";
import { applyToNewFile } from "../../src/engine/index.ts";
import { readImage } from "../../src/image/index.ts";
import { planImage } from "../../src/plan/index.ts";
import { NOW } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { type Visible, visible } from "../support/model.ts";
import { readRoot } from "../support/naive-qcow2.ts";
import { type ExploreOptions, type Exploration, explore } from "../../tools/crash/explore.ts";
import { seededRandom } from "../support/random.ts";
import { newWorld } from "../support/world.ts";
import { type Receiving, receiving, streamOf } from "../support/received.ts";

const PATH = "/memory/first.qcow2";

interface ReceivedSpec {
  readonly image: ImageSpec;
  /** Size of the disk where the stream leads; default: the same. */
  readonly size?: number;
  /** Ranges of bytes, and what is there then. */
  readonly changes: readonly (readonly [from: number, to: number, byte: number])[];
  readonly snapshot?: string;
}

const IMAGE: ImageSpec = {
  version: 3,
  clusterBits: 10,
  virtualSize: 200 * 1024,
  snapshots: [
    { name: "old", changes: [{ at: 0, count: 40, kind: "data", seed: 1 }] },
    { name: "newer", changes: [{ at: 20, count: 60, kind: "data", seed: 2 }] },
  ],
  active: {
    changes: [
      { at: 5, count: 3, kind: "data", seed: 3 },
      { at: 30, count: 4, kind: "compressed", seed: 4 },
    ],
  },
};

/** Parts of clusters that snapshots share, of compressed ones and of none; zeros; a table of its own. */
const CHANGES: ReceivedSpec["changes"] = [
  [512, 9 * 1024, 7],
  [31 * 1024 + 512, 33 * 1024, 8],
  [50 * 1024, 60 * 1024, 0],
  [150 * 1024, 153 * 1024, 9],
];

export const RECEIVED = {
  "kept as a snapshot": { image: IMAGE, changes: CHANGES, snapshot: "after" },
  "not kept": { image: { ...IMAGE, version: 2 }, changes: CHANGES },
  "on a disk that shrinks": { image: IMAGE, changes: CHANGES.slice(0, 2), size: 100 * 1024 + 512 },
  "on a disk that grows, with refcounts that are full": {
    image: { ...IMAGE, clusterBits: 9, room: { freeInLastRefcountBlock: 1 } },
    changes: CHANGES,
    size: 300 * 1024,
    snapshot: "after",
  },
} satisfies Record<string, ReceivedSpec>;

/** Explores a receive as the search does other operations. Throws at the first crash after which the promise does not hold. */
export const exploreReceive = (
  { start, operations, openReceived, received }: ReceivedSubject,
  sample?: ExploreOptions["sample"],
): Promise<Exploration> =>
  explore(newWorld({ [PATH]: start }), operations, {
    random: seededRandom(1),
    limits: { all: 64, tears: 3, samples: 12 },
    cutRecoveries: 4,
    repair: 0.1,
    run: { openReceived },
    received,
    ...(sample === undefined ? {} : { sample }),
  });

export interface ReceivedSubject extends Receiving {
  readonly start: Uint8Array;
  /** What a user sees of it afterwards. */
  readonly after: Visible;
  /** What the receive alone makes of what is seen. */
  readonly received: (before: Visible) => Visible;
}

export async function receivedSubject({
  image,
  changes,
  size,
  snapshot,
}: ReceivedSpec): Promise<ReceivedSubject> {
  const start = makeImage(image);
  const before = readRoot(start, "active");
  const content = Buffer.alloc(size ?? before.length);
  content.set(before.subarray(0, content.length));
  for (const [from, to, byte] of changes) content.fill(byte, from, to);
  const parts = await receiving(PATH, await streamOf(before, content), snapshot);
  // What was received alone, on a copy: its content is compared with the bytes, which no model holds.
  const disk = new MemoryDisk(start);
  const { openReceived } = parts;
  const plan = await planImage(await readImage(disk), parts.operations, { now: NOW, openReceived });
  await applyToNewFile(disk, plan);
  const bytes = disk.bytes();
  if (Buffer.compare(readRoot(bytes, "active"), content) !== 0) throw new Error("not what was sent");
  const after = visible(bytes);
  const { virtualSize, content: digest, vmArea } = after;
  return { ...parts, start, after, received: (was) => ({ ...was, virtualSize, content: digest, vmArea }) };
}
