/** An image in memory, operations that are planned and carried out on it, and what is refused. */
import { expect } from "vitest";
import type { QcowalError } from "../../src/errors/index.ts";
import type { Operation } from "../../src/plan/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { applyPlan, planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { checkImage, describeCheck, inspectImage } from "../support/naive-qcow2.ts";

export const image = "/memory/image.qcow2";
export const create = (name: string, force?: boolean): Operation => ({
  type: "create",
  image,
  name,
  ...(force === undefined ? {} : { force }),
});
export const revert = (name: string): Operation => ({ type: "revert", image, name });
export const remove = (name: string): Operation => ({ type: "delete", image, name });
export const rename = (name: string, to: string, force?: boolean): Operation => ({
  type: "rename",
  image,
  name,
  to,
  ...(force === undefined ? {} : { force }),
});

export const KIB = 1024;

export function given(spec: Partial<ImageSpec> = {}): MemoryDisk {
  return new MemoryDisk(
    makeImage({
      version: 3,
      clusterBits: 12,
      virtualSize: 4096 * KIB,
      active: { changes: [{ at: 3, kind: "data", count: 40 }] },
      ...spec,
    }),
  );
}

export async function when(disk: MemoryDisk, ...operations: Operation[]) {
  const plan = await planOn(disk, ...operations);
  await applyPlan(disk, plan);
  const bytes = disk.bytes();
  expect(describeCheck(checkImage(bytes))).toBe("clean");
  return { plan, bytes, report: inspectImage(bytes) };
}

export async function refusal(disk: MemoryDisk, ...operations: Operation[]): Promise<QcowalError> {
  const before = disk.bytes();
  const error: unknown = await planOn(disk, ...operations).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toMatchObject({ name: "QcowalError" });
  expect(Buffer.compare(disk.bytes(), before)).toBe(0);
  return error as QcowalError;
}
