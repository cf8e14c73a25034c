import { expect, test } from "vitest";
import type { Operation } from "../../src/plan/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { Machine } from "../support/machine.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { type Moment, type World, attempt, newWorld, operate, recoverWorld } from "../support/world.ts";

const PATH = "/memory/a.qcow2";
const REVERT: Operation = { type: "revert", image: PATH, name: "old" };

/** The process dies between removing the fence and the sync of that. */
async function killedBeforeLastSync(start: World): Promise<World> {
  const syncs: number[] = [];
  const machine = new Machine();
  await attempt(start, [REVERT], machine, {}, (type) => {
    if (type === "sync") syncs.push(machine.events);
  });
  return (await operate(start, [REVERT], (syncs.at(-1) ?? 0) + 1)).world;
}

test("a fence that a killed process removed without a sync does not come back behind a recorded end", async () => {
  const start = newWorld({
    [PATH]: makeImage({
      version: 3,
      clusterBits: 10,
      virtualSize: 2 ** 18,
      snapshots: [{ name: "old", changes: [{ at: 0, count: 9, kind: "data", seed: 1 }] }],
    }),
  });
  const killed = await killedBeforeLastSync(start);
  expect(killed.images.get(PATH)?.hasUnsynced).toBe(true);
  const moments: Moment[] = [];
  await recoverWorld(killed, undefined, (_type, moment) => moments.push(moment()));
  const end = moments.at(-1);
  const file = end?.files.get(PATH);
  if (end === undefined || file === undefined) throw new Error("the recovery did not end");
  // The power cut takes all of the image's pending changes, and none of the journal's.
  const disk = new MemoryDisk(file.durable.copy(), { path: PATH });
  const cut: World = {
    images: new Map([[PATH, disk]]),
    journal: [...end.journal.durable, ...end.journal.pending],
  };
  await expect(recoverWorld(cut)).resolves.toMatchObject({ failure: undefined });
});
