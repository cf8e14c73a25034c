import type { Damage } from "../../../test/support/damage.ts";
import type { Operation } from "../../../src/plan/index.ts";
import type { ImageSpec } from "../../image-maker/index.ts";

export type SnapshotVerb = "create" | "revert" | "delete";

type WithoutImage<One> = One extends Operation ? Omit<One, "image"> : never;

/** The command whose run is cut. Plain data: a process of its own runs it. */
export interface CrashCase {
  readonly name: string;
  readonly verb: SnapshotVerb | "rename" | "repair";
  /** What it is told besides: snapshots, or the options of a repair. */
  readonly words: readonly string[];
  /** What that asks of each image. */
  readonly operations: readonly WithoutImage<Operation>[];
  /** Of a repair: what is wrong with each image. */
  readonly damage: Damage | undefined;
  readonly images: readonly ImageSpec[];
  /** Transactions on record before it: without any, the run also makes the journal. */
  readonly history: number;
  /** A process was killed before this one, when it had made the journal's folder and not synced it. */
  readonly halfMade: boolean;
  /** Its records reach over several blocks of LevelDB's log, which reads on behind a torn one. */
  readonly longRecords: boolean;
  /** Recoveries of it that are recorded and cut in turn. */
  readonly recoveries: number;
}

/** Clusters of one, two and three owners, for a repair to count. */
const shared = (version: 2 | 3, clusterBits: number, rest: Partial<ImageSpec> = {}): ImageSpec => ({
  version,
  clusterBits,
  virtualSize: 32 << clusterBits,
  snapshotCopiedFlags: "set",
  snapshots: [
    { name: "monday", changes: [{ at: 0, count: 4, kind: "data", seed: 3 }] },
    { name: "tuesday", changes: [{ at: 4, count: 4, kind: "data", seed: 17 }] },
  ],
  active: { changes: [{ at: 8, count: 4, kind: "data", seed: 29 }] },
  ...rest,
});

const incomplete: Partial<ImageSpec> = {
  snapshots: [{ name: "monday", changes: [{ at: 0, count: 4, kind: "data", seed: 3 }], extraSize: 8 }],
};

const small = (version: 2 | 3, clusterBits: number, clusters: number): ImageSpec => ({
  version,
  clusterBits,
  virtualSize: clusters << clusterBits,
  snapshots: [
    { name: "monday", changes: [{ at: 0, count: Math.min(4, clusters), kind: "data", seed: 3 }] },
    { name: "tuesday", changes: [{ at: 1, count: 2, kind: "data", seed: 17 }] },
  ],
  active: { changes: [{ at: 2, count: 3, kind: "data", seed: 29 }] },
});

/** By the names that a report shows. */
export const SHAPES = {
  "v3 64K": small(3, 16, 8),
  "v3 4K": small(3, 12, 64),
  "v3 512": small(3, 9, 400),
  "v2 64K": small(2, 16, 8),
  "v2 4K": small(2, 12, 64),
} satisfies Readonly<Record<string, ImageSpec>>;
export type ShapeName = keyof typeof SHAPES;

export const VERBS = ["create", "revert", "delete"] as const;

export const SNAPSHOT_NAME: Readonly<Record<SnapshotVerb, string>> = {
  create: "new",
  revert: "monday",
  delete: "tuesday",
};

interface Extras {
  readonly history?: number;
  readonly halfMade?: boolean;
  readonly longRecords?: boolean;
  readonly recoveries?: number;
}

export function crashCase(
  verb: SnapshotVerb,
  shapes: readonly ShapeName[],
  { history = 0, halfMade = false, longRecords = false, recoveries = 0 }: Extras = {},
): CrashCase {
  return {
    name: [
      `${verb} on ${shapes.join(" and ")}`,
      ...(history === 0 ? [] : [`${history} on record`]),
      ...(halfMade ? ["journal half made"] : []),
      ...(longRecords ? ["long records"] : []),
    ].join(", "),
    verb,
    words: [SNAPSHOT_NAME[verb]],
    operations: [{ type: verb, name: SNAPSHOT_NAME[verb] }],
    damage: undefined,
    images: shapes.map((shape) => SHAPES[shape]),
    history,
    halfMade,
    longRecords,
    recoveries,
  };
}

const renameCase = (shapes: readonly ShapeName[], extras: Extras): CrashCase => ({
  ...crashCase("create", shapes, extras),
  name: `rename on ${shapes.join(" and ")}`,
  verb: "rename",
  words: ["monday", "sunday"],
  operations: [{ type: "rename", name: "monday", to: "sunday" }],
});

/** Several at once: only what is left of them is planned. */
const batchCase = (shapes: readonly ShapeName[], extras: Extras): CrashCase => ({
  ...crashCase("delete", shapes, extras),
  name: `delete of two snapshots on ${shapes.join(" and ")}`,
  words: ["--name", "monday", "--name", "tuesday"],
  operations: ["monday", "tuesday"].map((name) => ({ type: "delete", name })),
});

/** A repair of such an image. With an even number on record no snapshot of the past is left. */
function repairCase(
  what: string,
  damage: Damage,
  images: readonly ImageSpec[],
  { words = [], history = 0, recoveries = 0 }: Extras & { readonly words?: readonly string[] } = {},
): CrashCase {
  const name = `repair of ${what}`;
  const own = { halfMade: false, longRecords: false };
  const operations = [{ type: "repair" }] as const;
  return { name, verb: "repair", words, operations, damage, images, history, recoveries, ...own };
}

/** Each kind of damage that takes a way of its own through the phases. */
export const REPAIR_CASES: readonly CrashCase[] = [
  repairCase("leaks", "leaks", [shared(2, 12)], { words: ["--leaks"], history: 2 }),
  repairCase("corruption", "refcounts and flags", [shared(3, 12)], { recoveries: 1 }),
  repairCase("corruption on two images", "refcounts and flags", [shared(3, 12), shared(2, 12)], {
    words: ["--harden"],
    history: 2,
    recoveries: 1,
  }),
  repairCase("a missing refcount block", "missing block", [shared(3, 12)], { history: 2 }),
  repairCase("the refcount table", "block named twice", [shared(3, 16)], { history: 2, recoveries: 1 }),
  repairCase("the snapshot table", "leaks", [shared(3, 12, incomplete)], { history: 2, recoveries: 1 }),
  repairCase("flags of snapshots", "none", [shared(3, 12)], {
    words: ["--harden"],
    history: 2,
    recoveries: 1,
  }),
];

/** Different places in the life of a journal, and every shape with every verb somewhere. */
export const CRASH_CASES: readonly CrashCase[] = [
  crashCase("create", ["v3 64K"]),
  crashCase("revert", ["v3 64K"], { history: 1, recoveries: 1 }),
  crashCase("delete", ["v3 64K"], { history: 2 }),
  crashCase("create", ["v3 4K"], { history: 1, recoveries: 1 }),
  crashCase("revert", ["v3 4K"]),
  batchCase(["v3 4K"], { history: 8 }),
  crashCase("create", ["v3 512"], { recoveries: 1 }),
  crashCase("revert", ["v3 512"], { history: 3 }),
  crashCase("delete", ["v3 512"], { history: 1 }),
  renameCase(["v2 4K"], { history: 1 }),
  crashCase("revert", ["v2 64K"], { recoveries: 1 }),
  crashCase("delete", ["v2 4K"], { halfMade: true }),
  crashCase("create", ["v3 4K", "v2 4K"], { recoveries: 2 }),
  crashCase("revert", ["v3 64K", "v3 512"], { history: 1, recoveries: 1 }),
  crashCase("create", ["v3 4K"], { longRecords: true, recoveries: 1 }),
  crashCase("delete", ["v3 512"], { history: 1, longRecords: true }),
];
