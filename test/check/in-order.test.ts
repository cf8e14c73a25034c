/** A disk that was written in order: its clusters are counted a chunk at a time, and its refcount blocks are alike. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { checkTables, readHead } from "../../src/image/index.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { createImage, io, requireQemu, snapshotCreate, tempDir } from "../support/qemu.ts";
import { isSame, verdictOn } from "./verdict.ts";

const CLUSTER = 4096;
const ENTRIES = CLUSTER / 2;
const DISK = 40 * 2 ** 20;

beforeAll(requireQemu);

async function writtenInOrder(hasSnapshot: boolean): Promise<{ path: string; bytes: Buffer }> {
  const path = join(await tempDir(), "image.qcow2");
  await createImage(path, { size: DISK, options: { cluster_size: CLUSTER } });
  await io(path, `write -P 1 0 ${DISK}`);
  if (hasSnapshot) await snapshotCreate(path, "s");
  return { path, bytes: await readFile(path) };
}

/** Where the refcount of a cluster lies in the file. */
function refcountAt(bytes: Buffer, cluster: number): number {
  const table = Number(bytes.readBigUInt64BE(48));
  const block = Number(bytes.readBigUInt64BE(table + Math.floor(cluster / ENTRIES) * 8));
  return block + (cluster % ENTRIES) * 2;
}

describe.each([
  ["without a snapshot", false],
  ["with a snapshot", true],
])("a disk that was written in order, %s", (_, hasSnapshot) => {
  test("has each wrong refcount found that qemu-img finds, wherever it is", async () => {
    const { path, bytes } = await writtenInOrder(hasSnapshot);
    expect(isSame(await verdictOn(path, bytes))).toBe(true);
    const blocks = Math.floor(bytes.length / CLUSTER / ENTRIES);
    expect(blocks).toBeGreaterThan(4);
    for (const block of [0, 2, blocks - 1]) {
      for (const entry of [0, 255, 256, ENTRIES - 1]) {
        const damaged = Buffer.from(bytes);
        const at = refcountAt(bytes, block * ENTRIES + entry);
        damaged.writeUInt16BE(bytes.readUInt16BE(at) === 1 ? 2 : 1, at);
        const verdict = await verdictOn(path, damaged);
        expect(verdict, `block ${block}, entry ${entry}`).toMatchObject({ ours: verdict.theirs });
        expect(Number(verdict.ours["leaks"]) + Number(verdict.ours["corruptions"])).toBeGreaterThan(0);
      }
    }
  });

  test("is said the same of in one pass and in many, and each of its clusters is somebody's", async () => {
    const { bytes } = await writtenInOrder(hasSnapshot);
    const disk = new MemoryDisk(bytes);
    const head = await readHead(disk);
    const whole = await checkTables(disk, head, { usage: true });
    for (const counts of [1, 20_000]) {
      const memory = { counts, flags: 1024, tables: 8 };
      expect(await checkTables(disk, head, { usage: true, memory })).toEqual(whole);
    }
    expect(whole.findings).toEqual([]);
    expect(whole.usage?.usedBytes).toBe(Math.ceil(bytes.length / CLUSTER) * CLUSTER);
  });
});
