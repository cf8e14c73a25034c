import { describe, expect, test } from "vitest";
import { readImage } from "../../src/image/index.ts";
import { type Operation, planImage } from "../../src/plan/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { Machine } from "../support/machine.ts";
import { type World, attempt, attemptRecovery, newWorld, operate, recoverWorld } from "../support/world.ts";
import { checkImage, describeCheck, inspectImage } from "../support/naive-qcow2.ts";

const PATH = "/memory/a.qcow2";
const OTHER = "/memory/b.qcow2";

const SPEC: ImageSpec = {
  version: 3,
  // New tables are longer than what the journal holds in full.
  clusterBits: 13,
  virtualSize: 2 ** 20,
  snapshots: [{ name: "old", changes: [{ at: 0, count: 40, kind: "data", seed: 1 }] }],
  active: { changes: [{ at: 5, count: 3, kind: "data", seed: 3 }] },
};

const REVERT: Operation = { type: "revert", image: PATH, name: "old" };
const DELETE: Operation = { type: "delete", image: PATH, name: "old" };

const bytesOf = (world: World, path = PATH): Buffer => Buffer.from(world.images.get(path)?.bytes() ?? []);

/** Killed when `step` begins. */
async function killedAt(world: World, operations: readonly Operation[], step: string): Promise<World> {
  let at = 0;
  const probe = new Machine();
  await attempt(world, operations, probe, {
    onProgress: (event) => {
      if (event.step === step) at = probe.events;
    },
  });
  return (await operate(world, operations, at + 1)).world;
}

/** The same world after somebody changed a byte of an image behind the fence. */
async function tampered(world: World, offset: number, path = PATH): Promise<World> {
  const images = new Map([...world.images].map(([name, file]) => [name, file.reopen()]));
  const byte = new Uint8Array(1);
  const file = images.get(path);
  if (!Number.isSafeInteger(offset)) throw new Error("the operation has no such intent");
  await file?.read(offset, byte);
  await file?.write(offset, Uint8Array.of((byte[0] ?? 0) ^ 0x40));
  return { ...world, images };
}

/** A byte under an intent of each kind. */
async function offsets(start: World, operation: Operation): Promise<Record<string, number>> {
  const file = start.images.get(PATH);
  if (file === undefined) throw new Error("no image");
  const { phases } = await planImage(await readImage(file.reopen()), [operation], { now: 0 });
  const found: Record<string, number> = { "the L1 pointer in the header": 45 };
  for (const intent of [...phases.reserve, ...phases.raise, ...phases.lower]) {
    if (intent.kind === "fill") found["a new table"] = intent.offset + 3;
    // An entry in a run, its low byte; of an L2 entry not the byte with the flag.
    if (intent.kind === "refcount") found["a refcount"] = intent.block + 2 * (intent.runs[0]?.[0] ?? 0) + 1;
    if (intent.kind === "copied") found["an L2 entry"] = intent.table + 8 * (intent.runs[0]?.[0] ?? 0) + 6;
  }
  return found;
}

/** How narrow the range is that is reported for a changed byte. */
const RANGES = {
  // Longer than what the journal holds in full.
  "a new table": (at: number) => ({ phase: "reserve", intent: "fill", offset: at - 3, length: 2 ** 13 }),
  "a refcount": (at: number) => ({ intent: "refcount", offset: at - 1, length: 2 }),
  "the L1 pointer in the header": (at: number) => ({
    phase: "switch",
    intent: "header",
    offset: at,
    length: 1,
  }),
  "an L2 entry": (at: number) => ({ intent: "copied", offset: at - (at % 2 ** 13), length: 2 ** 13 }),
};

describe("bytes that a transaction neither found nor wrote stop its recovery before it writes:", () => {
  test.each([
    ["a new table", REVERT],
    ["a refcount", REVERT],
    ["the L1 pointer in the header", REVERT],
    ["a refcount", DELETE],
    ["an L2 entry", DELETE],
  ] as const)("%s (%o)", async (what, operation) => {
    const start = newWorld({ [PATH]: makeImage(SPEC) });
    const killed = await killedAt(start, [operation], "lower");
    const at = (await offsets(start, operation))[what] ?? Number.NaN;
    const foreign = await tampered(killed, at);
    const before = bytesOf(foreign);
    const { failure, machine } = await attemptRecovery(foreign, new Machine());
    // A header that points nowhere does not decode: what is said is where it was changed.
    expect(failure).toMatchObject({ code: "FOREIGN_WRITE", details: { path: PATH, ...RANGES[what](at) } });
    expect(machine.events).toBe(0);
    expect(bytesOf(foreign).equals(before)).toBe(true);
    expect(inspectImage(before, { ignoreFence: true }).header.fenced).toBe(true);
  });

  test("the same kill without a foreign byte is recovered", async () => {
    const start = newWorld({ [PATH]: makeImage(SPEC) });
    const recovered = await recoverWorld(await killedAt(start, [REVERT], "lower"));
    expect(describeCheck(checkImage(bytesOf(recovered.world)))).toBe("clean");
  });
});

describe("an image with foreign bytes beside a good one", () => {
  test("keeps both as they are, in whichever order they are judged", async () => {
    for (const path of [PATH, OTHER]) {
      const start = newWorld({ [PATH]: makeImage(SPEC), [OTHER]: makeImage(SPEC) });
      const both: Operation[] = [REVERT, { type: "revert", image: OTHER, name: "old" }];
      const foreign = await tampered(await killedAt(start, both, "lower"), 45, path);
      const { failure, machine, world } = await attemptRecovery(foreign, new Machine());
      expect(failure).toMatchObject({ code: "FOREIGN_WRITE", details: { path, offset: 45, length: 1 } });
      expect(machine.events).toBe(0);
      for (const each of [PATH, OTHER])
        expect(bytesOf(world, each).equals(bytesOf(foreign, each))).toBe(true);
    }
  });

  test("of another file altogether: the header is named", async () => {
    const start = newWorld({ [PATH]: makeImage(SPEC) });
    const killed = await killedAt(start, [REVERT], "lower");
    const foreign = await tampered(killed, 0);
    const { failure } = await attemptRecovery(foreign, new Machine());
    expect(failure).toMatchObject({ code: "FOREIGN_WRITE", details: { path: PATH, offset: 0, length: 512 } });
  });
});

describe("an image that another journal fenced", () => {
  test.each(["reserve", "lower"])(
    "is named and left alone by run and recover (killed at %s)",
    async (step) => {
      const killed = await killedAt(newWorld({ [PATH]: makeImage(SPEC) }), [REVERT], step);
      const before = bytesOf(killed);
      // The same image, but a journal that knows nothing.
      const elsewhere: World = { images: killed.images, journal: [] };
      const { failure } = await attempt(elsewhere, [REVERT], new Machine());
      expect(failure).toMatchObject({
        code: "NEEDS_RECOVERY",
        message: expect.stringContaining("/memory/journal"),
      });
      await expect(recoverWorld(elsewhere)).rejects.toMatchObject({ code: "NEEDS_RECOVERY" });
      expect(bytesOf(elsewhere).equals(before)).toBe(true);
      expect(describeCheck(checkImage(bytesOf((await recoverWorld(killed)).world)))).toBe("clean");
    },
  );
});

describe("two images in one transaction", () => {
  const start = newWorld({ [PATH]: makeImage(SPEC), [OTHER]: makeImage(SPEC) });

  test("neither changes when one of them refuses", async () => {
    const { failure, world } = await attempt(
      start,
      [REVERT, { type: "delete", image: OTHER, name: "missing" }],
      new Machine(),
    );
    expect(failure).toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
    for (const path of [PATH, OTHER]) expect(bytesOf(world, path).equals(bytesOf(start, path))).toBe(true);
  });

  test("operations on both that find it interrupted recover it once, and both run", async () => {
    const both: Operation[] = [REVERT, { type: "revert", image: OTHER, name: "old" }];
    const killed = await killedAt(start, both, "lower");
    const { failure, world } = await attempt(
      killed,
      [{ type: "create", image: OTHER, name: "later" }],
      new Machine(),
    );
    expect(failure).toBeUndefined();
    for (const path of [PATH, OTHER]) {
      expect(describeCheck(checkImage(bytesOf(world, path)))).toBe("clean");
      expect(inspectImage(bytesOf(world, path), { ignoreFence: true }).header.fenced).toBe(false);
    }
  });
});
