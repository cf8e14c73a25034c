import type { Operation } from "../../../src/plan/index.ts";
import { type ImageSpec, makeImage } from "../../../tools/image-maker/index.ts";
import { explore } from "../../../tools/crash/explore.ts";
import { seededRandom } from "../../support/random.ts";
import { newWorld } from "../../support/world.ts";

const FIRST = "/memory/first.qcow2";
const SECOND = "/memory/second.qcow2";

/**
 * Two snapshots that differ from each other and from the active layer. An unknown
 * extension pushes the fence's explanation over the end of a sector.
 */
const SMALL: ImageSpec = {
  version: 3,
  clusterBits: 10,
  virtualSize: 400 * 1024,
  extensions: [{ type: 0x77665500, data: new Uint8Array(344) }],
  snapshots: [
    { name: "old", changes: [{ at: 0, count: 40, kind: "data", seed: 1 }] },
    { name: "newer", changes: [{ at: 20, count: 150, kind: "data", seed: 2 }] },
  ],
  active: {
    changes: [
      { at: 5, count: 3, kind: "data", seed: 3 },
      { at: 200, count: 9, kind: "data", seed: 4 },
    ],
  },
};

/** New tables are longer than what the journal holds in full: only their digests are logged. */
const LONG: ImageSpec = {
  version: 3,
  clusterBits: 13,
  virtualSize: 2 ** 20,
  snapshots: [{ name: "old", changes: [{ at: 0, count: 4, kind: "data", seed: 1 }] }],
  active: { changes: [{ at: 2, count: 3, kind: "data", seed: 3 }] },
};

/** The header extension of the bitmap lies over the end of the first sector. */
const BITMAP: ImageSpec = {
  ...SMALL,
  extensions: [],
  headerLength: 496,
  bitmap: { name: "nightly", granularityBits: 9 },
};

interface Setting {
  readonly images: Readonly<Record<string, ImageSpec>>;
  readonly operations: readonly Operation[];
}

const SUBJECTS = {
  create: { images: { [FIRST]: SMALL }, operations: [{ type: "create", image: FIRST, name: "new" }] },
  revert: { images: { [FIRST]: SMALL }, operations: [{ type: "revert", image: FIRST, name: "old" }] },
  delete: { images: { [FIRST]: SMALL }, operations: [{ type: "delete", image: FIRST, name: "newer" }] },
  "create in long clusters": {
    images: { [FIRST]: LONG },
    operations: [{ type: "create", image: FIRST, name: "new" }],
  },
  "revert in long clusters": {
    images: { [FIRST]: LONG },
    operations: [{ type: "revert", image: FIRST, name: "old" }],
  },
  "create on two images": {
    images: { [FIRST]: SMALL, [SECOND]: LONG },
    operations: [
      { type: "create", image: FIRST, name: "new" },
      { type: "create", image: SECOND, name: "new" },
    ],
  },
  "delete on two images": {
    images: { [FIRST]: SMALL, [SECOND]: LONG },
    operations: [
      { type: "delete", image: FIRST, name: "newer" },
      { type: "delete", image: SECOND, name: "old" },
    ],
  },
  "revert that drops bitmaps": {
    images: { [FIRST]: BITMAP },
    operations: [{ type: "revert", image: FIRST, name: "old", dropBitmaps: true }],
  },
} satisfies Record<string, Setting>;

export type Subject = keyof typeof SUBJECTS;
export const ALL_SUBJECTS = Object.keys(SUBJECTS) as Subject[];

/** Explores a transaction as the search does. Throws at the first crash after which the promise does not hold. */
export async function exploreSubject(subject: Subject): Promise<void> {
  const { images, operations }: Setting = SUBJECTS[subject];
  const bytes = Object.fromEntries(Object.entries(images).map(([path, spec]) => [path, makeImage(spec)]));
  await explore(newWorld(bytes), operations, {
    random: seededRandom(1),
    limits: { all: 64, tears: 3, samples: 12 },
    cutRecoveries: 60,
    repair: 0.1,
  });
}
