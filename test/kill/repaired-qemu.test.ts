import { copyFile, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type RepairOutcome, openPool } from "../../src/index.ts";
import { readImage } from "../../src/image/index.ts";
import { planImage } from "../../src/plan/index.ts";
import { type ImageSpec, writeImage } from "../../tools/image-maker/index.ts";
import { applyPlan } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { visible } from "../support/model.ts";
import { run } from "../support/programs.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import {
  createImage,
  io,
  judge,
  qemuCheck,
  rawDigest,
  requireQemu,
  snapshotCreate,
  tempDir,
} from "../support/qemu.ts";
import { killStates, traceQemu } from "./lab/qemu-writes.ts";
import { requireStrace } from "./lab/strace.ts";

beforeAll(requireQemu);
beforeAll(requireStrace);

const VERBS = { create: ["-c", "new"], revert: ["-a", "s"], delete: ["-d", "s"] } as const;

/** An image whose snapshot "s" qemu-img took, and was written to since. */
async function withSnapshot(path: string, spec: Pick<ImageSpec, "version" | "clusterBits">): Promise<void> {
  // Large clusters are judged as fast as small ones where there are fewer.
  const count = spec.clusterBits === 16 ? 64 : 1024;
  const active = { changes: [{ at: 0, count, kind: "data", seed: 5 }] } as const;
  await writeImage(path, { ...spec, virtualSize: Math.max(count << spec.clusterBits, 2 ** 20), active });
  await snapshotCreate(path, "s");
  await io(path, "write -P 17 64K 192K", "write -P 18 700K 100K");
}

/** What a kill of `qemu-img snapshot` at each of its writes and syncs leaves. */
async function statesOf(path: string, verb: keyof typeof VERBS): Promise<Buffer[]> {
  const copy = join(dirname(path), `${verb}.qcow2`);
  await copyFile(path, copy);
  const before = await readFile(copy);
  const events = await traceQemu(copy, join(dirname(path), "trace"), "qemu-img", [
    "snapshot",
    ...VERBS[verb],
    copy,
  ]);
  return [...killStates(before, events)];
}

async function repaired(
  bytes: Uint8Array,
  path: string,
): Promise<{ disk: MemoryDisk; outcome: RepairOutcome }> {
  const disk = new MemoryDisk(bytes, { path });
  const plan = await planImage(await readImage(disk), [{ type: "repair", image: path }], { now: 0 });
  await applyPlan(disk, plan);
  const [outcome] = plan.outcomes;
  if (outcome?.type !== "repair") throw new Error("a repair has the outcome of one");
  return { disk, outcome };
}

describe.each([
  { version: 3, clusterBits: 16 },
  { version: 3, clusterBits: 12 },
  { version: 2, clusterBits: 12 },
] as const)("what a killed qemu-img leaves (%j)", (spec) => {
  test.each(Object.keys(VERBS) as (keyof typeof VERBS)[])(
    "is mended after any kill of a %s",
    async (verb) => {
      const path = join(await tempDir(), "a.qcow2");
      await withSnapshot(path, spec);
      const totals = { states: 0, damaged: 0, leaked: 0, flags: 0 };
      for (const state of await statesOf(path, verb)) {
        const { disk, outcome } = await repaired(state, path);
        const bytes = disk.bytes();
        expect(describeCheck(checkImage(bytes)), `state ${totals.states}`).toBe("clean");
        expect(visible(bytes), `state ${totals.states}`).toEqual(visible(state));
        expect((await repaired(bytes, path)).outcome.findings).toEqual([]);
        await writeFile(path, bytes);
        expect((await qemuCheck(path)).code, `state ${totals.states}`).toBe(0);
        totals.states += 1;
        if (outcome.findings.length > 0) totals.damaged += 1;
        totals.leaked += outcome.mended.leakedClusters + outcome.mended.refcountsTooHigh;
        totals.flags += outcome.mended.copiedFlags;
      }
      expect(totals.damaged).toBeGreaterThan(3);
      console.log(`${verb} ${JSON.stringify(spec)}: ${JSON.stringify(totals)}`);
    },
  );
});

describe("after --harden,", () => {
  test.each([
    { version: 3, clusterBits: 16 },
    { version: 3, clusterBits: 12 },
    { version: 2, clusterBits: 12 },
    { version: 3, clusterBits: 9 },
  ] as const)(
    "a revert by qemu-img to its own snapshot, killed anywhere, leaves no COPIED error (%j)",
    async (spec) => {
      const path = join(await tempDir(), "a.qcow2");
      await withSnapshot(path, spec);
      const copiedErrors = async (): Promise<number> => {
        let errors = 0;
        const killed = `${path}.killed`;
        for (const state of await statesOf(path, "revert")) {
          await writeFile(killed, state);
          if ((await qemuCheck(killed)).text.includes("OFLAG_COPIED")) errors += 1;
        }
        return errors;
      };
      expect(await copiedErrors(), "without it").toBeGreaterThan(0);
      const before = visible(await readFile(path));
      await using pool = await openPool(join(dirname(path), "journal"));
      const report = await pool.repair(path, { harden: true });
      expect(report.images[0]?.outcomes).toMatchObject([{ type: "repair", findings: [] }]);
      expect(visible(await readFile(path))).toEqual(before);
      await judge(path);
      expect(await copiedErrors()).toBe(0);
    },
  );
});

describe("a VM with lazy refcounts that was killed", () => {
  test.each(["", "write -P 4 0 8M"])(
    "leaves refcounts too low and the dirty bit, which go together (%j)",
    async (more) => {
      const path = join(await tempDir(), "lazy.qcow2");
      await createImage(path, { size: "64M", options: { lazy_refcounts: "on", cluster_size: 4096 } });
      await io(path, "write -P 1 0 4M");
      await snapshotCreate(path, "s");
      const snapshot = await rawDigest(path, { snapshotId: "1" });
      const commands = ["write -P 2 1M 6M", ...(more === "" ? [] : [more]), "flush", "sigraise 9"];
      const vm = await run("qemu-io", [...commands.flatMap((command) => ["-c", command]), path]);
      expect(vm.signal).toBe("SIGKILL");

      const before = visible(await readFile(path));
      expect((await qemuCheck(path)).corruptions).toBeGreaterThan(0);
      await using pool = await openPool(join(dirname(path), "journal"));
      await expect(pool.create(path, "x")).rejects.toMatchObject({
        code: "IMAGE_DAMAGED",
        message: expect.stringContaining("'qcowal repair'"),
      });
      const report = await pool.repair(path);
      expect(report.images[0]?.outcomes).toMatchObject([
        { mended: { dirtyBit: true, refcountsTooLow: expect.any(Number) } },
      ]);
      expect(visible(await readFile(path))).toEqual(before);
      await judge(path);
      expect(await rawDigest(path, { snapshotId: "1" })).toBe(snapshot);
      await pool.create(path, "x");
      await judge(path);
    },
  );
});
