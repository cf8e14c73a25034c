/** What a check says that deleting frees, what the reports say was freed, and what the file system counts. */
import { open, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { PlanSummary } from "../../src/index.ts";
import { qcowal, qcowalJson } from "../support/in-process.ts";
import { placesIn, setRefcount } from "../support/places.ts";
import { createImage, io, judge, requireQemu, tempDir } from "../support/qemu.ts";

beforeAll(requireQemu);

/** A block of the file system, so that it counts in the same units. */
const CLUSTER = 4096;
const LEAKED = 7;

interface Usage {
  readonly usage: {
    readonly roots: readonly { readonly name?: string; readonly "delete-frees"?: number }[];
    readonly metadata: number;
    readonly used: number;
  };
}

/** Bytes that the file occupies, as durable as they will be. */
async function occupied(path: string): Promise<number> {
  const file = await open(path, "r+");
  await file.sync();
  await file.close();
  return (await stat(path)).blocks * 512;
}

async function usageOf(path: string): Promise<Usage["usage"]> {
  return (JSON.parse((await qcowal("check", "--usage", "--json", path)).stdout) as Usage).usage;
}

/** What an operation gave back, less what it took: by its report, by the next check, and by the file system. */
async function given(path: string, ...operation: readonly string[]) {
  const before = { usage: await usageOf(path), occupied: await occupied(path) };
  const { images } = await qcowalJson<{ images: readonly { summary: PlanSummary }[] }>(...operation, path);
  const { clustersFreed = 0, clustersAllocated = 0 } = images[0]?.summary ?? {};
  const after = { usage: await usageOf(path), occupied: await occupied(path) };
  return {
    before: before.usage,
    reported: (clustersFreed - clustersAllocated) * CLUSTER,
    used: before.usage.used - after.usage.used,
    metadata: before.usage.metadata - after.usage.metadata,
    occupied: before.occupied - after.occupied,
  };
}

/** The file system counts a block of its own for the list of the file's extents, where that is long. */
function expectBlocks(found: number, expected: number): void {
  expect(Math.abs(found - expected), `${found} bytes, not ${expected}`).toBeLessThanOrEqual(CLUSTER);
}

test("deleting and repairing give back what was promised, and the file system has it", async () => {
  const path = join(await tempDir(), "a.qcow2");
  await createImage(path, { size: "8M", options: { cluster_size: CLUSTER } });
  for (const [index, name] of ["one", "two", "three"].entries()) {
    await io(path, `write -P ${index + 1} ${index * 256}k 1M`);
    expect((await qcowal("create", name, path)).code).toBe(0);
  }
  await io(path, "write -P 9 512k 2M");

  for (const name of ["two", "one", "three"]) {
    const { before, reported, used, metadata, occupied: fromDisk } = await given(path, "delete", name);
    const promised = before.roots.find((root) => root.name === name)?.["delete-frees"] ?? 0;
    expect(promised, name).toBeGreaterThan(0);
    // What the image has for itself changes too: the snapshot table is written anew.
    expect({ reported, used }, name).toEqual({ reported: promised + metadata, used: promised + metadata });
    expectBlocks(fromDisk, promised + metadata);
  }

  // Clusters at the end of the file that are counted and that nothing refers to.
  const bytes = await readFile(path);
  const end = Math.ceil(bytes.length / CLUSTER);
  const leaked = Buffer.concat([
    bytes,
    Buffer.alloc(end * CLUSTER - bytes.length),
    Buffer.alloc(LEAKED * CLUSTER, 1),
  ]);
  const at = placesIn(leaked);
  for (let index = 0; index < LEAKED; index += 1) setRefcount(at, end + index, 1);
  const file = await open(path, "r+");
  await file.write(leaked, end * CLUSTER, LEAKED * CLUSTER, end * CLUSTER);
  await file.write(leaked, at.block, CLUSTER, at.block);
  await file.close();
  expect((await qcowal("check", path)).code).toBe(3);
  const repaired = await given(path, "repair");
  expect(repaired).toMatchObject({ reported: LEAKED * CLUSTER, used: 0, metadata: 0 });
  expectBlocks(repaired.occupied, LEAKED * CLUSTER);
  // Nothing is left that only snapshots and leaks had.
  expectBlocks(await occupied(path), (await usageOf(path)).used);
  await judge(path);
});
