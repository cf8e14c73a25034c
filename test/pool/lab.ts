import { mkdtemp, readFile, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { type Pool, openPool } from "../../src/index.ts";
import { type ImageSpec, writeImage } from "../../tools/image-maker/index.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";

export const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 2 ** 20,
  snapshots: [
    { name: "one", changes: [{ at: 0, count: 9, kind: "data", seed: 1 }] },
    { name: "two", changes: [{ at: 4, count: 30, kind: "data", seed: 2 }] },
  ],
  active: { changes: [{ at: 7, count: 50, kind: "data", seed: 3 }] },
};

export async function scratch(...images: readonly string[]): Promise<string> {
  const dir = await realpath(await mkdtemp(join(tmpdir(), "qcowal-pool-")));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  for (const image of images) await writeImage(join(dir, image), SPEC);
  return dir;
}

/** A pool that is closed with the test. */
export async function poolIn(dir: string): Promise<Pool> {
  const pool = await openPool(join(dir, ".qcowal"), { program: "test" });
  onTestFinished(() => pool.close());
  return pool;
}

export async function expectClean(path: string): Promise<void> {
  expect(describeCheck(checkImage(await readFile(path)))).toBe("clean");
}
