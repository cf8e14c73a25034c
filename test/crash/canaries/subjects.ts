import { type ErrorCode, isQcowalError } from "../../../src/errors/index.ts";
import type { Operation, RepairOperation } from "../../../src/plan/index.ts";
import { type ImageSpec, makeImage } from "../../../tools/image-maker/index.ts";
import { CrashError, explore } from "../../../tools/crash/explore.ts";
import { Machine } from "../../support/machine.ts";
import { seededRandom } from "../../support/random.ts";
import { attempt, newWorld } from "../../support/world.ts";
import { type Damage, damaged } from "../../support/damage.ts";
import { RECEIVED, exploreReceive, receivedSubject } from "../received-subject.ts";
import { LEFT_ALONE } from "./left-alone.ts";
import { plant, planted } from "./planted.ts";

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
  /** Of a repair: what is wrong with the first image. */
  readonly damage?: Damage;
  readonly givenUp?: readonly string[];
  /** It must be refused, and the image left alone. */
  readonly refusal?: ErrorCode;
  /** It must be done, but for what it has to leave alone. */
  readonly leaves?: keyof typeof LEFT_ALONE;
}

const [OLD, NEWER] = SMALL.snapshots ?? [];

/** A repair of the small image. */
function repair(damage: Damage, rest: Partial<Setting & RepairOperation> = {}): Setting {
  const { harden = false, what = "all", dropDamagedSnapshots = false, ...setting } = rest;
  const operation = { type: "repair", image: FIRST, harden, what, dropDamagedSnapshots } as const;
  return { images: { [FIRST]: SMALL }, operations: [operation], damage, ...setting };
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
  "repair of refcounts and flags": repair("refcounts and flags"),
  "repair of leaks": repair("leaks", { what: "leaks" }),
  "repair of a missing refcount block": repair("missing block"),
  "repair of a refcount table": repair("block behind the end"),
  "repair of a refcount block in another's place": repair("block in the place of the L1 table"),
  "repair of a refcount block that is named twice": repair("block named twice"),
  "repair of a refcount block under an unreadable slot": repair("reserved bits in a slot"),
  "repair of a snapshot table": repair("refcounts and flags", {
    images: {
      [FIRST]: {
        ...SMALL,
        snapshots: [
          { name: "old", ...OLD, extraSize: 8 },
          { name: "newer", ...NEWER },
        ],
      },
    },
  }),
  "repair that hardens": repair("leaks", {
    images: { [FIRST]: { ...SMALL, snapshotCopiedFlags: "set" } },
    harden: true,
  }),
  "repair that gives a snapshot up": repair("unreadable snapshot", {
    dropDamagedSnapshots: true,
    givenUp: ["2"],
  }),
  "repair of an unreadable snapshot": repair("unreadable snapshot", { leaves: "ownedByAnyone" }),
  "repair of a contradictory snapshot": repair("contradictory snapshot", { leaves: "ownedByAnyone" }),
  "repair that gives a contradictory snapshot up": repair("contradictory snapshot", {
    dropDamagedSnapshots: true,
    givenUp: ["2"],
  }),
  "repair of an unreadable entry": repair("unreadable entry", { refusal: "IMAGE_DAMAGED" }),
  "repair of leaks where more is wrong": repair("refcounts and flags", {
    what: "leaks",
    leaves: "allButLeaks",
  }),
  "repair of a cluster with two owners": repair("two owners", { refusal: "IMAGE_DAMAGED" }),
} satisfies Record<string, Setting>;

export type Subject = keyof typeof SUBJECTS | "receive";
export const ALL_SUBJECTS: readonly Subject[] = [...(Object.keys(SUBJECTS) as Subject[]), "receive"];

/** What the stream leads to is found out while no bug is planted. */
async function withoutBug<Result>(find: () => Promise<Result>): Promise<Result> {
  const { bug } = planted;
  plant({});
  try {
    return await find();
  } finally {
    plant(bug);
  }
}

/**
 * Explores a transaction as the search does, with a `repair` without the journal of a part of the states. Throws at the
 * first crash after which the promise does not hold.
 */
export async function exploreSubject(subject: Subject, repair = 0.1): Promise<void> {
  if (subject === "receive") {
    await exploreReceive(await withoutBug(() => receivedSubject(RECEIVED["not kept"])));
    return;
  }
  const { images, operations, damage, givenUp, refusal, leaves }: Setting = SUBJECTS[subject];
  const bytes = Object.fromEntries(
    Object.entries(images).map(([path, spec]) => [path, damaged(makeImage(spec), damage)]),
  );
  const start = newWorld(bytes);
  if (refusal !== undefined) {
    const { failure, world } = await attempt(start, operations, new Machine());
    const isUntouched = [...world.images].every(([path, file]) =>
      Buffer.from(file.bytes()).equals(bytes[path] ?? Buffer.alloc(0)),
    );
    if (isQcowalError(failure, refusal) && isUntouched) return;
    throw new CrashError("undisturbed", failure ?? new Error("what has to be refused was done"));
  }
  if (leaves !== undefined) {
    const { failure, world } = await attempt(start, operations, new Machine());
    if (failure !== undefined) throw new CrashError("undisturbed", failure);
    for (const [path, file] of world.images) {
      const changed = LEFT_ALONE[leaves](bytes[path] ?? Buffer.alloc(0), file.bytes());
      if (changed !== undefined) {
        throw new CrashError("undisturbed", new Error(`what has to be left alone was not: ${changed}`));
      }
    }
    return;
  }
  await explore(start, operations, {
    random: seededRandom(1),
    limits: { all: 64, tears: 3, samples: 12 },
    // Where there is more to cut, fewer show the bugs; the search itself has all kinds.
    cutRecoveries: damage === undefined && operations.length === 1 ? 60 : 20,
    // A scan would have to be told what to give up.
    repair: givenUp === undefined ? repair : 0,
    damaged: damage !== undefined,
    givenUp,
  });
}
