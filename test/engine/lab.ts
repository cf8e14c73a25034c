import type { Operation } from "../../src/plan/index.ts";
import { type ImageSpec } from "../../tools/image-maker/index.ts";
import { type World, historyOf } from "../support/world.ts";
import { inspectImage, logicalState } from "../support/naive-qcow2.ts";

export const PATH = "/memory/a.qcow2";

export const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 10,
  virtualSize: 300 * 1024,
  snapshots: [
    { name: "old", changes: [{ at: 0, count: 40, kind: "data", seed: 1 }] },
    { name: "newer", changes: [{ at: 20, count: 90, kind: "data", seed: 2 }] },
  ],
  active: { changes: [{ at: 5, count: 3, kind: "data", seed: 3 }] },
};

export const OPERATIONS = {
  create: { type: "create", image: PATH, name: "new" },
  revert: { type: "revert", image: PATH, name: "old" },
  delete: { type: "delete", image: PATH, name: "newer" },
} satisfies Record<string, Operation>;
export const VERBS = Object.keys(OPERATIONS) as (keyof typeof OPERATIONS)[];
export const CODES = ["NO_SPACE", "IO_FAILED"] as const;

export const imageOf = (world: World): Uint8Array => world.images.get(PATH)?.bytes() ?? new Uint8Array();

export const isFenced = (world: World): boolean =>
  inspectImage(imageOf(world), { ignoreFence: true }).header.fenced;

/** All that a user can see: freed clusters that were not punched out make no difference. */
export const seenIn = (bytes: Uint8Array): unknown =>
  logicalState(inspectImage(bytes, { ignoreFence: true }));

export const lastStatus = async (world: World): Promise<string> =>
  (await historyOf(world)).at(-1)?.status ?? "none";
