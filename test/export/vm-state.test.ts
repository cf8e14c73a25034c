import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type View, cloneImage, openView } from "../../src/index.ts";
import { inspectImage } from "../support/naive-qcow2.ts";
import { createImage, info, io, judge, rawBytes, requireQemu, tempDir } from "../support/qemu.ts";
import { Vm, withMemory } from "../support/vm.ts";

beforeAll(requireQemu);

const MEMORY = 0x1000;
/** What an incoming migration begins with, and a saved state too. */
const QEVM = Buffer.from("QEVM");

async function stateOf(view: View, chunkBytes?: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const bytes of view.vmState(chunkBytes === undefined ? {} : { chunkBytes })) parts.push(bytes);
  return Buffer.concat(parts);
}

/**
 * The state as qemu-img reads it: of a copy whose disk is as large as that of the
 * snapshot and what lies behind it, and mapped as in the snapshot.
 */
async function stateByQemu(path: string, position: number): Promise<Uint8Array> {
  const bytes = await readFile(path);
  const snapshot = inspectImage(bytes).snapshots[position];
  if (snapshot === undefined) throw new Error(`no snapshot at position ${position}`);
  const clusterSize = 2 ** bytes.readUInt32BE(20);
  const span = clusterSize * (clusterSize / 8);
  const start = Math.ceil(snapshot.diskSize / span) * span;
  bytes.writeBigUInt64BE(BigInt(Math.ceil((start + snapshot.vmStateSize) / 512) * 512), 24);
  bytes.writeUInt32BE(snapshot.l1Size, 36);
  bytes.writeBigUInt64BE(BigInt(snapshot.l1Offset), 40);
  const copy = `${path}.copy`;
  await writeFile(copy, bytes);
  const content = await rawBytes(copy);
  return content.subarray(start, start + snapshot.vmStateSize);
}

describe("the state that a real VM saved", () => {
  test.each([
    ["16k", 8 << 20],
    ["4k", (3 << 20) + 512],
  ])(
    "is what qemu reads there, and a clone of its snapshot loads it: clusters of %s",
    async (cluster, size) => {
      const dir = await tempDir();
      const path = join(dir, "a.qcow2");
      await createImage(path, { size, options: { cluster_size: cluster } });
      await io(path, "write -P 1 0 1M");
      {
        await using vm = await Vm.start({ disks: [path], args: withMemory(MEMORY, 0x1111n) });
        await vm.monitor("savevm first");
        await vm.io(0, "write -P 2 0 2M");
        await vm.monitor("savevm second");
        await vm.io(0, "write -P 3 1M 1M");
      }
      const before = await readFile(path);
      const listed = (await info(path)).snapshots ?? [];
      for (const [position, name] of ["first", "second"].entries()) {
        await using view = await openView(path, { snapshot: name });
        expect(view.vmStateSize).toBe(listed[position]?.["vm-state-size"]);
        expect(view.size).toBe(size);
        const state = await stateOf(view);
        expect(state).toHaveLength(view.vmStateSize);
        expect(state.subarray(0, 4).equals(QEVM)).toBe(true);
        expect(Buffer.compare(state, await stateByQemu(path, position))).toBe(0);
        expect(Buffer.compare(state, await stateOf(view, 77_777))).toBe(0);

        const clone = join(dir, `${name}.qcow2`);
        await cloneImage(path, clone, { snapshot: name });
        await judge(clone);
        await using cloned = await openView(clone, { snapshot: name });
        expect(Buffer.compare(await stateOf(cloned), state)).toBe(0);
        await cloned.close();
        const loaded = join(dir, "loaded.qcow2");
        await copyFile(clone, loaded);
        await using vm = await Vm.start({ disks: [loaded], args: ["-loadvm", name] });
        expect(await vm.memory(MEMORY)).toBe(0x1111n);
      }
      await using active = await openView(path);
      expect(active.vmStateSize).toBe(0);
      expect(await stateOf(active)).toHaveLength(0);
      expect((await readFile(path)).equals(before)).toBe(true);
    },
  );
});
