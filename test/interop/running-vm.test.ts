/** Images that a real virtual machine runs on, and state that it saved in them with `savevm`. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openPool } from "../../src/index.ts";
import { Lab } from "../cli/lab.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { must, run } from "../support/programs.ts";
import {
  createImage,
  info,
  io,
  judge,
  rawDigest,
  requireQemu,
  snapshotApply,
  snapshotList,
} from "../support/qemu.ts";
import { Vm, withMemory } from "../support/vm.ts";

beforeAll(requireQemu);
beforeAll(requireBuiltCommand);

const MEMORY = 0x1000;

/** A directory with two disks of a machine, which has been saved as "running" with 0x1111 in its memory. */
async function savedMachine(): Promise<{ lab: Lab; disks: [string, string] }> {
  const lab = await Lab.open({});
  const disks: [string, string] = [lab.path("system.qcow2"), lab.path("data.qcow2")];
  for (const [index, path] of disks.entries()) {
    await createImage(path, { size: "8M" });
    await io(path, `write -P ${index + 1} 0 1M`);
  }
  await using vm = await Vm.start({ disks, args: withMemory(MEMORY, 0x1111n) });
  await vm.monitor("savevm running");
  await vm.io(0, "write -P 0x71 0 256k");
  await vm.io(1, "write -P 0x72 512k 1M");
  return { lab, disks };
}

/** What the machine has in its memory when it is loaded from a snapshot. */
async function memoryOf(disks: readonly string[], snapshot: string): Promise<bigint> {
  await using vm = await Vm.start({ disks, args: ["-loadvm", snapshot] });
  return await vm.memory(MEMORY);
}

const contentOf = async (disks: readonly string[]): Promise<string[]> => {
  const digests: string[] = [];
  for (const path of disks) digests.push(await rawDigest(path));
  return digests;
};

describe("state that a VM saved with savevm", () => {
  test("is listed as qemu-img lists it: size, clock and the disks without state", async () => {
    const { lab, disks } = await savedMachine();
    for (const [index, path] of disks.entries()) {
      const [snapshot] = await snapshotList(path);
      if (index === 0) expect(snapshot?.["vm-state-size"]).toBeGreaterThan(100_000);
      else expect(snapshot?.["vm-state-size"]).toBe(0);
      expect(await lab.json("list", path)).toMatchObject([snapshot ?? {}]);
      const { stdout } = await lab.qcowal("snapshot", "-l", path);
      expect(stdout).toBe(await must("qemu-img", ["snapshot", "-l", path]));
    }
  });

  test("serves loadvm after our create, revert and delete on both disks at once", async () => {
    const { lab, disks } = await savedMachine();
    const saved: string[] = [];
    for (const path of disks) saved.push(await rawDigest(path, { snapshotId: "1" }));
    expect(await contentOf(disks)).not.toEqual(saved);
    expect(await lab.qcowal("create", "disk-only", ...disks)).toMatchObject({ code: 0 });
    {
      await using vm = await Vm.start({ disks, args: withMemory(MEMORY, 0x2222n) });
      await vm.monitor("savevm later");
    }
    for (const path of disks) await judge(path);
    expect(await lab.qcowal("revert", "running", ...disks)).toMatchObject({ code: 0 });
    for (const path of disks) await judge(path);
    expect(await contentOf(disks)).toEqual(saved);
    expect(await memoryOf(disks, "running")).toBe(0x1111n);
    expect(await memoryOf(disks, "later")).toBe(0x2222n);
    expect(await lab.qcowal("delete", "disk-only", ...disks)).toMatchObject({ code: 0 });
    expect(await lab.qcowal("delete", "later", ...disks)).toMatchObject({ code: 0 });
    for (const path of disks) await judge(path);
    expect(await memoryOf(disks, "running")).toBe(0x1111n);
    expect(await contentOf(disks)).toEqual(saved);
    // What we took and reverted to has to serve a savevm of the same name, too, which deletes the old one first.
    {
      await using vm = await Vm.start({ disks, args: withMemory(MEMORY, 0x3333n) });
      await vm.monitor("savevm running");
    }
    for (const path of disks) await judge(path);
    expect(await memoryOf(disks, "running")).toBe(0x3333n);
  });

  test("is kept and restored as by qemu-img on a twin", async () => {
    const { lab, disks } = await savedMachine();
    const [ours, data] = disks;
    const twin = lab.path("twin.qcow2");
    await must("cp", [ours, twin]);
    await using pool = await openPool(lab.path(".qcowal"));
    await pool.revert(ours, "running");
    await snapshotApply(twin, "running");
    for (const path of [ours, twin]) {
      await judge(path);
      expect(await memoryOf([path, data], "running")).toBe(0x1111n);
    }
    expect(await rawDigest(ours)).toBe(await rawDigest(twin));
    expect((await info(ours)).snapshots).toEqual((await info(twin)).snapshots);
  });

  test("goes with its snapshot: the space is free, and the machine has nothing to load", async () => {
    const { lab, disks } = await savedMachine();
    expect(await lab.qcowal("delete", "running", ...disks)).toMatchObject({ code: 0 });
    for (const path of disks) await judge(path);
    await expect(Vm.start({ disks, args: ["-loadvm", "running"] })).rejects.toThrow(
      /does not have|not exist/,
    );
  });
});

describe("an image of a running VM", () => {
  test("is refused by whatever writes, which says who is in the way, and changes nothing", async () => {
    const { lab, disks } = await savedMachine();
    const [image] = disks;
    const before = await lab.bytes("system.qcow2");
    {
      await using _vm = await Vm.start({ disks });
      for (const words of [
        ["create", "x", image],
        ["revert", "running", image],
        ["delete", "running", image],
        ["repair", image],
        ["list", image],
      ]) {
        const { code, stderr } = await lab.qcowal(...words);
        expect({ code, stderr }, words.join(" ")).toMatchObject({
          code: 5,
          stderr: expect.stringMatching(/system\.qcow2.*in use/i),
        });
      }
      const drop = await lab.qcowal("snapshot", "-c", "x", image);
      expect(drop).toMatchObject({ code: 1, stderr: expect.stringMatching(/in use/i) });
      expect(await lab.qcowal("check", image)).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/in use/i),
      });
    }
    expect(before.equals(await lab.bytes("system.qcow2"))).toBe(true);
    expect(await lab.qcowal("create", "x", image)).toMatchObject({ code: 0 });
    await judge(image);
  });

  test("is refused together with the other images of the transaction", async () => {
    const { lab, disks } = await savedMachine();
    const idle = lab.path("idle.qcow2");
    await createImage(idle, { size: "1M" });
    await using _vm = await Vm.start({ disks: [disks[1]] });
    expect(await lab.qcowal("create", "x", idle, disks[1])).toMatchObject({ code: 5 });
    expect(await snapshotList(idle)).toEqual([]);
  });

  test("can be looked at with -U: listed and checked while the VM writes", async () => {
    const { lab, disks } = await savedMachine();
    const [image] = disks;
    await using vm = await Vm.start({ disks });
    await vm.io(0, "write -P 0x55 2M 1M");
    await vm.io(0, "flush");
    expect(await lab.qcowal("check", "-U", image)).toMatchObject({ code: 0 });
    expect((await run("qemu-img", ["check", "-q", "-U", image])).code).toBe(0);
    expect(await lab.json("list", "-U", image)).toMatchObject([{ id: "1", name: "running" }]);
    const { stdout } = await lab.qcowal("snapshot", "-l", "-U", image);
    expect(stdout).toBe(await must("qemu-img", ["snapshot", "-U", "-l", image]));
    await vm.io(0, "write -P 0x56 4M 1M");
  });

  test("does not start while an interrupted operation holds its disk, and says what to run", async () => {
    const { lab, disks } = await savedMachine();
    const [image] = disks;
    await lab.dieAt({ type: "revert", image, name: "running" }, "switch");
    await expect(Vm.start({ disks })).rejects.toThrow(/interrupted, run 'qcowal recover'/);
    expect(await lab.qcowal("recover", join(lab.dir, "system.qcow2"))).toMatchObject({ code: 0 });
    expect(await memoryOf(disks, "running")).toBe(0x1111n);
  });
});
