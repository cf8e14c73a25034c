import { expect } from "vitest";
import { type Image, readImage } from "../../src/image/index.ts";
import type { Mended, RepairOperation } from "../../src/plan/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { applyPlan, planOn } from "./apply-plan.ts";
import { MemoryDisk } from "./memory-disk.ts";
import { checkImage, describeCheck } from "./naive-qcow2.ts";
import { type Places, placesIn } from "./places.ts";

export const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 2 ** 20,
  snapshots: [
    { name: "one", changes: [{ at: 0, count: 20, kind: "data", seed: 1 }] },
    { name: "two", changes: [{ at: 9, count: 20, kind: "data", seed: 2 }] },
  ],
  active: { changes: [{ at: 7, count: 30, kind: "data", seed: 3 }] },
};
export const CLUSTER = 4096;

export type Damage = (at: Places) => void;

export function damaged(damage: Damage, spec = SPEC): { disk: MemoryDisk; sound: Uint8Array } {
  const sound = makeImage(spec);
  const bytes = Buffer.from(sound);
  damage(placesIn(bytes));
  return { disk: new MemoryDisk(bytes), sound };
}

export const repairOf = (disk: MemoryDisk, rest: Partial<RepairOperation> = {}): RepairOperation => ({
  type: "repair",
  image: disk.path,
  ...rest,
});

/** Repairs; the image is then clean, shows what it showed, and a second repair finds nothing. */
export async function mend(disk: MemoryDisk, rest: Partial<RepairOperation> = {}): Promise<Mended> {
  const [outcome] = await carriedOut(disk, rest);
  expect(describeCheck(checkImage(disk.bytes()))).toBe("clean");
  const again = await planOn(disk, repairOf(disk, rest));
  expect(
    Object.values(again.phases).flatMap((intents) => [...intents]),
    "intents of a second repair",
  ).toEqual([]);
  expect(again.outcomes).toMatchObject([{ findings: [] }]);
  if (outcome?.type !== "repair") throw new Error("a repair has the outcome of one");
  return outcome.mended;
}

export async function carriedOut(disk: MemoryDisk, rest: Partial<RepairOperation>) {
  const plan = await planOn(disk, repairOf(disk, rest));
  expect(disk.events, "planning writes nothing").toBe(0);
  await applyPlan(disk, plan);
  return plan.outcomes;
}

/** The second of two entries says that it has so much extra data. */
export async function exceeding(
  extra: number,
  more: Damage = () => undefined,
): Promise<{ disk: MemoryDisk; image: Image }> {
  const [one, two] = SPEC.snapshots ?? [];
  const real = extra < 2 ** 20 ? extra : 24;
  const spec = {
    ...SPEC,
    snapshots: [
      { ...one, name: "one" },
      { ...two, name: "two", extraSize: real },
    ],
  };
  const { disk } = damaged((at) => {
    const first = 40 + 24 + 1 + 3;
    at.bytes.writeUInt32BE(extra, at.snapshots + Math.ceil(first / 8) * 8 + 36);
    more(at);
  }, spec);
  return { disk, image: await readImage(disk, true) };
}
