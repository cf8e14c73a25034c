import { copyFile, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { type RepairOutcome, openPool } from "../../src/index.ts";
import { readImage } from "../../src/image/index.ts";
import { planImage } from "../../src/plan/index.ts";
import { crashStates } from "../../tools/crash/real/states.ts";
import { type ImageSpec, seededRandom, writeImage } from "../../tools/image-maker/index.ts";
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

/** What an interrupted revert by qemu-img comes to: how many states, and of how many the snapshot changes. */
interface Harm {
  states: number;
  copiedErrors: number;
  /** The guest wrote to the disk, and the snapshot is not what it was. */
  snapshotsChanged: number;
}

/** Lets a guest write over the whole disk of each state, and looks at the snapshot. */
async function harmIn(states: readonly Buffer[], path: string, snapshot: unknown): Promise<Harm> {
  const harm: Harm = { states: 0, copiedErrors: 0, snapshotsChanged: 0 };
  const victim = `${path}.victim`;
  for (const state of states) {
    harm.states += 1;
    if (checkImage(state).copied.length > 0) harm.copiedErrors += 1;
    await writeFile(victim, state);
    // Where qemu notices what it is about to do, the write fails: no harm is done.
    await run("qemu-io", ["-c", "write -P 99 0 1M", victim]);
    const [now] = visible(await readFile(victim)).snapshots;
    if (!isDeepStrictEqual(now, snapshot)) harm.snapshotsChanged += 1;
  }
  return harm;
}

/** What kills of the revert leave, each state once, and what power cuts do. */
async function interruptedReverts(path: string): Promise<{ kills: Buffer[]; cuts: Buffer[] }> {
  const all = await statesOf(path, "revert");
  const kills = all.filter((state, index) => all.findIndex((other) => other.equals(state)) === index);
  const copy = join(dirname(path), "cut.qcow2");
  await copyFile(path, copy);
  const start = new Map([[copy, await readFile(copy)]]);
  const words = ["snapshot", ...VERBS.revert, copy];
  const events = await traceQemu(copy, join(dirname(path), "trace"), "qemu-img", words);
  const states = crashStates(dirname(path), start, events, seededRandom(1), { states: 6 });
  const cuts = states.flatMap((state) => {
    const bytes = state.tree().get(copy);
    return bytes instanceof Buffer ? [bytes] : [];
  });
  return { kills, cuts };
}

describe("qemu-img's own revert to its own snapshot, interrupted, before a guest writes to the disk,", () => {
  test.each([
    { version: 3, clusterBits: 16 },
    { version: 3, clusterBits: 12 },
    { version: 2, clusterBits: 12 },
    { version: 3, clusterBits: 9 },
  ] as const)("changes the snapshot, and after --harden never does (%j)", async (spec) => {
    const path = join(await tempDir(), "a.qcow2");
    await withSnapshot(path, spec);
    const before = visible(await readFile(path));
    const [snapshot] = before.snapshots;
    const open = await interruptedReverts(path);
    const openKills = await harmIn(open.kills, path, snapshot);
    const openCuts = await harmIn(open.cuts, path, snapshot);
    expect(openKills.copiedErrors).toBeGreaterThan(0);
    expect(openKills.snapshotsChanged).toBeGreaterThan(0);
    // Which states a few cuts hit is chance; that they harm too is what the numbers show that are printed.
    expect(openCuts.states).toBeGreaterThan(0);

    await using pool = await openPool(join(dirname(path), "journal"));
    const report = await pool.repair(path, { harden: true });
    expect(report.images[0]?.outcomes).toMatchObject([{ type: "repair", findings: [] }]);
    expect(visible(await readFile(path))).toEqual(before);
    await judge(path);

    const closed = await interruptedReverts(path);
    const closedKills = await harmIn(closed.kills, path, snapshot);
    const closedCuts = await harmIn(closed.cuts, path, snapshot);
    console.log(
      `${JSON.stringify(spec)}: ${JSON.stringify({ openKills, openCuts, closedKills, closedCuts })}`,
    );
    expect(closedKills).toMatchObject({ copiedErrors: 0, snapshotsChanged: 0 });
    expect(closedCuts).toMatchObject({ snapshotsChanged: 0 });
  });
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
